//! What a code object is known by, and whether it may have become another.

use super::{Block, ReadUser};
use crate::{
    limits::CODE_BLOCK,
    python::{Process, PythonLayout},
};

/// How many code objects the process has made so far; 0 where nobody knows. Two equal counts say that no
/// code object was made in between (`Objects/codeobject.c` of 3.12 to 3.15: each takes the next number),
/// and so that none has taken over the address of another.
#[inline(always)]
pub fn code_version<R: ReadUser>(reader: &R, layout: &PythonLayout, process: &Process) -> u64 {
    if process.code_version == 0 {
        return 0;
    }
    let head = process
        .runtime
        .wrapping_add(u64::from(layout.runtime_interpreters));
    let Some(interpreter) = reader.read_u64(head) else {
        return 0;
    };
    let is_only_one = if layout.interpreter_code_version == 0 {
        // One counter for all, without a lock: two interpreters may count the same number twice.
        let next = interpreter.wrapping_add(u64::from(layout.interpreter_next));
        reader.read_u64(next) == Some(0)
    } else {
        // The newest interpreter comes first: where that is the main one, there is no other, which would
        // count for itself.
        let counter = interpreter.wrapping_add(u64::from(layout.interpreter_code_version));
        counter == process.code_version
    };
    if !is_only_one {
        return 0;
    }
    // A `u32`; it stays 0 once it has run over.
    match reader.read_u64(process.code_version) {
        Some(count) => count & 0xffff_ffff,
        None => 0,
    }
}

/// Mixes the fields of a code object that name it; the block starts at `code_start`. A code object that took over the address of a
/// dead one differs in at least one of them, since their strings and tables are other objects.
#[inline(always)]
pub fn checksum(layout: &PythonLayout, code: &Block<CODE_BLOCK>) -> u32 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut mix = u64::from(code.u32_at(in_part(layout, layout.code_first_line))).wrapping_add(1);
    mix = (mix ^ code.u64_at(in_part(layout, layout.code_name))).wrapping_mul(MULTIPLIER);
    mix = (mix ^ (mix >> 29) ^ code.u64_at(in_part(layout, layout.code_file)))
        .wrapping_mul(MULTIPLIER);
    mix = (mix ^ (mix >> 31) ^ code.u64_at(in_part(layout, layout.code_line_table)))
        .wrapping_mul(MULTIPLIER);
    (mix >> 32) as u32
}

/// Where a field of a code object is in the part of it that is read.
#[inline(always)]
pub fn in_part(layout: &PythonLayout, offset: u16) -> u16 {
    offset.wrapping_sub(u16::from(layout.code_start))
}

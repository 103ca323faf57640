//! How a code object is identified, and whether another may have taken its address.

use super::{Block, ReadUser};
use crate::{
    limits::{CODE_BLOCK, CODE_PART},
    python::{Process, PythonLayout},
};

/// How many code objects the process has made so far; 0 if that is not known. If two counts are equal, no code object
/// was made in between (`Objects/codeobject.c` of 3.12 to 3.15: each takes the next number), and so none has taken over
/// the address of another.
#[inline(always)]
pub fn code_version<R: ReadUser>(reader: &R, layout: &PythonLayout, process: &Process) -> u32 {
    if process.code_version == 0 {
        return 0;
    }
    // The newest interpreter comes first: if that is the main one, there is no other. Another one would have a separate
    // count, or (3.12) count on without a lock, so that two code objects may take the same number.
    let head = process
        .runtime
        .wrapping_add(u64::from(layout.runtime_interpreters));
    if reader.read_u64(head) != Some(process.main_interpreter) {
        return 0;
    }
    // A `u32`; it stays 0 once it has run over.
    match reader.read_u64(process.code_version) {
        Some(count) => count as u32,
        None => 0,
    }
}

/// Mixes all words of the part of a code object that is read. Up to 3.11 another code object has the same checksum at
/// the same address only if its names, constants and tables all lie at the addresses of the first one's, and it starts
/// at the same line.
#[inline(always)]
pub fn checksum(code: &Block<CODE_BLOCK>) -> u32 {
    const MULTIPLIERS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xc2b2_ae3d_27d4_eb4f];
    const WORDS: u16 = CODE_PART as u16 / 8;
    // Two at a time, since each waits for the one before.
    let [mut even, mut odd] = [1_u64, 0];
    let mut word = 0;
    while word < WORDS {
        even = (even ^ code.u64_at(8 * word)).wrapping_mul(MULTIPLIERS[0]);
        if word + 1 < WORDS {
            odd = (odd ^ code.u64_at(8 * word + 8)).wrapping_mul(MULTIPLIERS[1]);
        }
        word += 2;
    }
    let mix = (even ^ (odd >> 29)).wrapping_mul(MULTIPLIERS[1]);
    (mix >> 32) as u32
}

/// Offset of a field of a code object in the part of it that is read.
#[inline(always)]
pub fn in_part(layout: &PythonLayout, offset: u16) -> u16 {
    offset.wrapping_sub(u16::from(layout.code_start))
}

//! Python's strings: `PyASCIIObject` and `PyCompactUnicodeObject` (`Include/cpython/unicodeobject.h`; before 3.9
//! `Include/unicodeobject.h`).

use super::{Block, ReadUser};
use crate::python::PythonLayout;

/// The characters of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Characters {
    /// Where they start in the process's memory.
    pub address: u64,
    /// How many there are.
    pub length: u64,
    /// Bytes that each has: 1, 2 or 4.
    pub kind: u32,
}

impl Characters {
    /// Bytes of all of them, or of as many as fit into `most` bytes, a multiple of 4; and whether that omits any.
    #[inline(always)]
    pub fn size_within(&self, most: u64) -> (u64, bool) {
        // Kinds are powers of two.
        let shift = self.kind >> 1;
        let is_cut = self.length > most >> shift;
        let size = if is_cut { most } else { self.length << shift };
        (size, is_cut)
    }
}

/// Reads the head of the string at an address, into `block`; `None` if it cannot be read, or if it is not a string
/// whose characters lie behind its head (only C code that uses an API removed in 3.12 makes others).
#[inline(always)]
pub fn characters<R: ReadUser, const N: usize>(
    reader: &R,
    layout: &PythonLayout,
    address: u64,
    block: &mut Block<N>,
) -> Option<Characters> {
    // Reads up to the state, the last field needed: a short string may end where its page ends.
    let size = u32::from(layout.string_state) + 4;
    if !reader.read(address, size, block) {
        return None;
    }
    let state = block.u32_at(layout.string_state);
    let has_bit = |bit: u8| (state >> (u32::from(bit) & 31)) & 1 == 1;
    let kind = (state >> (u32::from(layout.string_kind_shift) & 31)) & 7;
    if !has_bit(layout.string_compact_bit) || (kind != 1 && kind != 2 && kind != 4) {
        return None;
    }
    let data = if has_bit(layout.string_ascii_bit) {
        layout.string_ascii_data
    } else {
        layout.string_compact_data
    };
    Some(Characters {
        address: address.wrapping_add(u64::from(data)),
        length: block.u64_at(layout.string_length),
        kind,
    })
}

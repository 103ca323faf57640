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

/// Why an object has no characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoCharacters {
    /// Its memory, or that of its class, cannot be read; or it is a string as only C code makes them, by an API removed
    /// in 3.12.
    Unreadable,
    /// It is no instance of `str`.
    NotText,
}

/// The characters of an object of any class, whose head is read into `block`. Those of an instance of `str` itself lie
/// behind its head, those of a class that derives from `str` (`enum.StrEnum`, the safe strings of template engines) lie
/// elsewhere. What an object is its class says by a flag, which no Python code can change.
#[inline(always)]
pub fn characters_of_any<R: ReadUser, const N: usize>(
    reader: &R,
    layout: &PythonLayout,
    address: u64,
    block: &mut Block<N>,
) -> Result<Characters, NoCharacters> {
    /// `PyTypeObject.tp_flags`, from `ob_type` of the type itself on.
    const FLAGS: u64 = 160;
    /// `Py_TPFLAGS_UNICODE_SUBCLASS`.
    const IS_TEXT: u64 = 1 << 28;
    let Some(head) = head(reader, layout, address, block) else {
        return Err(NoCharacters::Unreadable);
    };
    let class = block.u64_at(layout.object_type);
    let flags = class.wrapping_add(u64::from(layout.object_type) + FLAGS);
    let Some(flags) = reader.read_u64(flags) else {
        return Err(NoCharacters::Unreadable);
    };
    if flags & IS_TEXT == 0 {
        return Err(NoCharacters::NotText);
    }
    if !head.is_text {
        return Err(NoCharacters::Unreadable);
    }
    let mut start = address.wrapping_add(head.data);
    if !head.is_compact {
        // `PyUnicodeObject.data`, behind a `PyCompactUnicodeObject`.
        let data = address.wrapping_add(u64::from(layout.string_compact_data));
        match reader.read_u64(data) {
            Some(data) if data != 0 => start = data,
            _ => return Err(NoCharacters::Unreadable),
        }
    }
    Ok(Characters {
        address: start,
        length: block.u64_at(layout.string_length),
        kind: head.kind,
    })
}

/// What the head of a string says, if it is one.
struct Head {
    kind: u32,
    /// Whether there is such a kind.
    is_text: bool,
    is_compact: bool,
    /// From the string's start to its characters, if they lie behind its head.
    data: u64,
}

/// Reads a head into `block`; `None` if it cannot be read.
#[inline(always)]
fn head<R: ReadUser, const N: usize>(
    reader: &R,
    layout: &PythonLayout,
    address: u64,
    block: &mut Block<N>,
) -> Option<Head> {
    // Reads up to the state, the last field needed: a short string may end where its page ends.
    let size = u32::from(layout.string_state) + 4;
    if !reader.read(address, size, block) {
        return None;
    }
    let state = block.u32_at(layout.string_state);
    let has_bit = |bit: u8| (state >> (u32::from(bit) & 31)) & 1 == 1;
    let kind = (state >> (u32::from(layout.string_kind_shift) & 31)) & 7;
    let data = if has_bit(layout.string_ascii_bit) {
        layout.string_ascii_data
    } else {
        layout.string_compact_data
    };
    Some(Head {
        kind,
        is_text: kind == 1 || kind == 2 || kind == 4,
        is_compact: has_bit(layout.string_compact_bit),
        data: u64::from(data),
    })
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
    let head = head(reader, layout, address, block)?;
    if !head.is_compact || !head.is_text {
        return None;
    }
    Some(Characters {
        address: address.wrapping_add(head.data),
        length: block.u64_at(layout.string_length),
        kind: head.kind,
    })
}

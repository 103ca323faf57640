//! One structure of CPython, and the checks of an offset in it.

use profiler_common::limits::CODE_PART;

/// Why offsets are not followed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum LayoutError {
    /// An offset lies outside its structure, or outside what the walker reads of it.
    #[error("the offset of {field} is {offset}, outside the {size} bytes of its structure")]
    Outside {
        /// The field.
        field: &'static str,
        /// Its offset.
        offset: u64,
        /// Where it should end at the latest.
        size: u64,
    },
    /// An offset is not a multiple of what its field is aligned to.
    #[error("the offset of {field} is {offset}, which is not aligned")]
    Misaligned {
        /// The field.
        field: &'static str,
        /// Its offset.
        offset: u64,
    },
    /// The fields that name a code object do not lie together as in any CPython.
    #[error(
        "the fields that name a code object are spread over more than {CODE_PART} of its first {end} bytes"
    )]
    Spread {
        /// Where the last of them ends.
        end: u64,
    },
    /// A structure is smaller or larger than any CPython's.
    #[error("{structure} would have {size} bytes, which is not plausible")]
    Size {
        /// The structure.
        structure: &'static str,
        /// Its size.
        size: u64,
    },
}

/// A bit of the string state, which the walker reads as a `u32`.
pub(super) fn bit(field: &'static str, bit: u8) -> Result<u8, LayoutError> {
    // `kind` is three bits wide.
    if bit <= 29 {
        return Ok(bit);
    }
    Err(LayoutError::Outside {
        field,
        offset: u64::from(bit),
        size: 32,
    })
}

/// A structure of which offsets must lie inside.
#[derive(Clone, Copy)]
pub(super) struct Structure {
    size: u64,
}

impl Structure {
    /// Of so many bytes.
    pub(super) fn new(size: u64) -> Self {
        Self { size }
    }

    fn checked(self, field: &'static str, offset: u64, size: u64) -> Result<u32, LayoutError> {
        let outside = LayoutError::Outside {
            field,
            offset,
            size: self.size,
        };
        if offset.checked_add(size).is_none_or(|end| end > self.size) {
            return Err(outside);
        }
        u32::try_from(offset).ok().ok_or(outside)
    }

    /// The offset of a field of 8 bytes.
    pub(super) fn word(self, field: &'static str, offset: u64) -> Result<u32, LayoutError> {
        if !offset.is_multiple_of(8) {
            return Err(LayoutError::Misaligned { field, offset });
        }
        self.checked(field, offset, 8)
    }

    /// The same in 16 bits.
    pub(super) fn short_word(self, field: &'static str, offset: u64) -> Result<u16, LayoutError> {
        self.word(field, offset)?;
        self.short(field, offset, 8)
    }

    /// The offset of a field of 4 bytes, in 16 bits.
    pub(super) fn half_word(self, field: &'static str, offset: u64) -> Result<u16, LayoutError> {
        if !offset.is_multiple_of(4) {
            return Err(LayoutError::Misaligned { field, offset });
        }
        self.short(field, offset, 4)
    }

    /// The offset of a field of `size` bytes, in 16 bits, wherever it lies.
    pub(super) fn short(
        self,
        field: &'static str,
        offset: u64,
        size: u64,
    ) -> Result<u16, LayoutError> {
        let checked = self.checked(field, offset, size)?;
        u16::try_from(checked).ok().ok_or(LayoutError::Outside {
            field,
            offset,
            size: self.size,
        })
    }
}

//! What is known of a value while a function is followed.

use super::ThreadLocal;
use crate::targets::elf::{Elf, RelocationType};

/// What a register or a word of the stack holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Anything.
    Unknown,
    /// A number, the same in every process.
    Number(i64),
    /// An address in the file.
    Address(u64),
    /// An address on the stack: bytes from where the return address is.
    Stack(i64),
    /// Bytes from the thread pointer to a thread-local.
    Distance(ThreadLocal),
    /// The address of a thread-local.
    Location(ThreadLocal),
    /// What a thread-local holds.
    Content(ThreadLocal),
}

impl Value {
    /// The thread pointer: the address of what is no bytes away from it.
    pub(super) const THREAD_POINTER: Self = Self::Location(ThreadLocal::Offset(0));

    /// The sum of two values.
    pub(super) fn plus(self, other: Self) -> Self {
        let sum = match (self, other) {
            (Self::Number(number), value) | (value, Self::Number(number)) => value.moved(number),
            (Self::THREAD_POINTER, Self::Distance(thread_local))
            | (Self::Distance(thread_local), Self::THREAD_POINTER) => {
                Some(Self::Location(thread_local))
            }
            _ => None,
        };
        sum.unwrap_or(Self::Unknown)
    }

    /// The address in the file that it is, if the loader fills the word there in this way.
    pub(super) fn filled(self, elf: &Elf<'_>, how: RelocationType) -> Option<u64> {
        let Self::Address(address) = self else {
            return None;
        };
        (elf.relocation(address) == Some(how)).then_some(address)
    }

    /// What is so many bytes further on, as far as it is known.
    fn moved(self, bytes: i64) -> Option<Self> {
        Some(match self {
            Self::Number(number) => Self::Number(number.wrapping_add(bytes)),
            Self::Address(address) => Self::Address(address.wrapping_add_signed(bytes)),
            Self::Stack(offset) => Self::Stack(offset.wrapping_add(bytes)),
            Self::Distance(it) => Self::Distance(it.moved(bytes)?),
            Self::Location(it) => Self::Location(it.moved(bytes)?),
            Self::Content(_) if bytes == 0 => self,
            Self::Content(_) | Self::Unknown => return None,
        })
    }
}

impl ThreadLocal {
    /// The thread-local that is so many bytes further on, if there is a word for it.
    fn moved(self, bytes: i64) -> Option<Self> {
        match self {
            Self::Offset(offset) => offset.checked_add(bytes).map(Self::Offset),
            Self::OffsetAt(_) => (bytes == 0).then_some(self),
            Self::Module { pair, more } => {
                let more = more.checked_add(bytes)?;
                Some(Self::Module { pair, more })
            }
            Self::Descriptor { pair, more } => {
                let more = more.checked_add(bytes)?;
                Some(Self::Descriptor { pair, more })
            }
        }
    }
}

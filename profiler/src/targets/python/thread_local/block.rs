//! The thread-locals of a program, which lie right below the thread pointer.

use super::ThreadLocal;
use crate::targets::elf::{Elf, ThreadLocals};

/// Bytes of a pointer, which is what the thread-local is.
const POINTER: u64 = 8;
/// Bytes of thread-locals of one program that are believed.
const MAX_SIZE: u64 = 16 << 20;

/// Where the symbol of `_Py_tss_tstate` says it is, in a program that was not stripped. In a library
/// the loader decides.
pub(super) fn by_symbol(elf: &Elf<'_>) -> Option<ThreadLocal> {
    elf.entry()?;
    let symbols = elf.thread_local_symbols("_Py_tss_tstate").ok()?;
    // Two have this name: it is not clear which one it is.
    let [symbol] = *symbols else { return None };
    let offset = i64::try_from(symbol)
        .ok()?
        .checked_sub(i64::try_from(size(elf.thread_locals()?)?).ok()?)?;
    is_in_program(elf, offset).then_some(ThreadLocal::Offset(offset))
}

/// Whether a pointer at this offset from the thread pointer is one of the program's thread-locals.
pub(super) fn is_in_program(elf: &Elf<'_>, offset: i64) -> bool {
    let below = offset.unsigned_abs();
    let size = elf.thread_locals().and_then(size).unwrap_or(0);
    offset < 0 && below.is_multiple_of(POINTER) && (POINTER..=size).contains(&below)
}

/// Bytes from the start of a program's thread-locals up to the thread pointer: the fewest that hold
/// them and let their start be as aligned as it is in the file. Linkers, glibc
/// (`_dl_determine_tlsoffset`) and musl (`static_init_tls`) agree on it.
fn size(thread_locals: ThreadLocals) -> Option<u64> {
    let ThreadLocals {
        address,
        size,
        alignment,
    } = thread_locals;
    let alignment = alignment.max(1);
    let is_sane = size <= MAX_SIZE && alignment <= MAX_SIZE && alignment.is_power_of_two();
    let padding = address.wrapping_add(size).wrapping_neg() & (alignment - 1);
    is_sane.then(|| size + padding)
}

#[cfg(test)]
mod tests {
    use super::size;
    use crate::targets::elf::ThreadLocals;

    fn sized(address: u64, size_in_file: u64, alignment: u64) -> Option<u64> {
        size(ThreadLocals {
            address,
            size: size_in_file,
            alignment,
        })
    }

    /// A block is rounded up to its alignment, and starts as far off it as in the file; what is not an
    /// alignment, or is larger than any program's, has no size.
    #[test]
    fn blocks_are_rounded_up() {
        assert_eq!(sized(0x4d_2d20, 0x20, 8), Some(0x20));
        assert_eq!(sized(0xb5_0db0, 0x19, 8), Some(0x20));
        assert_eq!(sized(0x1000, 0x19, 0x40), Some(0x40));
        assert_eq!(sized(0x1008, 0x19, 0x40), Some(0x38));
        assert_eq!(sized(0x1030, 0x19, 0x40), Some(0x50));
        assert_eq!(sized(0x1003, 0x19, 0), Some(0x19));
        assert_eq!(sized(0x1000, 0x19, 24), None);
        assert_eq!(sized(0x1000, u64::MAX, 8), None);
        assert_eq!(sized(0x1000, 0x19, 1 << 40), None);
    }
}

//! Where CPython 3.12 and later keeps the thread state that is attached to the running thread: its
//! thread-local `_Py_tss_tstate` (`Python/pystate.c`), which is not exported.
//!
//! In: a file, and later the memory of a process that has mapped it. Out: the place of the
//! thread-local, which tells for any thread pointer where that thread's value is. Nothing is guessed:
//! what is not understood has no place.

mod block;
mod place;

pub use place::{Place, Unresolved, is_musl, read_at, resolve};

use crate::targets::elf::Elf;

/// How the code of a CPython reaches its thread-local. Addresses are those in the file, without a
/// load bias. The four ways are those of the ELF ABI for thread-locals (Drepper, "ELF Handling For
/// Thread-Local Storage"; Oliva, "Thread-Local Storage Descriptors for IA32 and AMD64/EM64T").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThreadLocal {
    /// Bytes from the thread pointer, in a program (local exec): negative on x86-64.
    Offset(i64),
    /// A word of its data holds the bytes from the thread pointer, once the loader has written it
    /// (initial exec).
    OffsetAt(u64),
    /// A pair of words holds module id and offset, as for `__tls_get_addr` (general dynamic; local
    /// dynamic with bytes to add).
    Module {
        /// Where the pair is.
        pair: u64,
        /// Bytes to add to the pair's offset.
        more: i64,
    },
    /// A pair of words holds a resolver and its argument (TLSDESC).
    Descriptor {
        /// Where the pair is.
        pair: u64,
        /// Bytes to add to what the resolver answers.
        more: i64,
    },
}

/// How the code of a CPython reaches the attached thread state of the running thread, told by the
/// file alone; `None` where that is not understood, and before 3.12, where there is no thread-local.
pub fn find(elf: &Elf<'_>) -> Option<ThreadLocal> {
    block::by_symbol(elf)
}

//! Where CPython 3.12 and later keeps the thread state that is attached to the running thread: its
//! thread-local `_Py_tss_tstate` (`Python/pystate.c`), which is not exported.
//!
//! In: a file, and later the memory of a process that has mapped it. Out: the place of the
//! thread-local, which tells for any thread pointer where that thread's value is. Nothing is guessed:
//! what is not understood has no place.

mod block;
mod check;
mod code;
mod place;
mod value;

#[cfg(test)]
mod forms;
#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod live;
#[cfg(test)]
mod words;

pub use check::fits;
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

/// Functions that return the thread-local and do little else: all of them since 3.12, but for
/// the second and the third, which is called the second since 3.13.
const FUNCTIONS: [&str; 4] = [
    "_PyThreadState_GetCurrent",
    "PyThreadState_GetUnchecked",
    "_PyThreadState_UncheckedGet",
    "PyThreadState_Get",
];

/// How the code of a CPython reaches the attached thread state of the running thread, told by the
/// file alone; `None` if that is not understood, and before 3.12, if there is no thread-local.
///
/// Its symbol and the functions that return it are asked; all that give an answer must give the same.
pub fn find(elf: &Elf<'_>) -> Option<ThreadLocal> {
    let functions = elf.symbols(FUNCTIONS).ok()?;
    let by_code = functions
        .into_iter()
        .flatten()
        .filter_map(|function| code::returned(elf, function.address));
    let mut answers = block::by_symbol(elf).into_iter().chain(by_code);
    let first = answers.next()?;
    answers.all(|answer| answer == first).then_some(first)
}

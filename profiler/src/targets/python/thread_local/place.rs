//! Where a thread-local is in one process, and what it holds in one of its threads.

#[cfg(test)]
mod tests;

use std::path::Path;

use profiler_common::{
    python::{Process, thread_local},
    walk::{ReadUser, attached_place},
};

use super::ThreadLocal;
use crate::targets::Mapping;

/// Thread-locals lie this close to their thread pointer or block: with more, a loader finds no room.
const MAX_OFFSET: u64 = 16 << 20;
/// Module ids that are believed; loaders count them from 1.
const MAX_MODULE: u64 = 0xffff;
/// Bytes of an entry of the vector in glibc: the block, and what to free with it (`dtv_t`).
const GLIBC_ENTRY: u8 = 16;
/// Bytes of an entry of the vector in musl: the block.
const MUSL_ENTRY: u8 = 8;

/// Where a thread-local is, in every thread of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Bytes from the thread pointer.
    Offset(i64),
    /// In the block of a module. A thread's vector of blocks (DTV; the pointer to it is 8 bytes above
    /// the thread pointer on x86-64) has an entry for it, as soon as the thread has used it.
    Dynamic {
        /// Id of the module: which entry.
        module: u64,
        /// Bytes from the start of the block.
        offset: u64,
        /// Bytes of an entry: 16 with glibc, 8 with musl.
        entry_size: u8,
    },
}

/// Why the place of a thread-local is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unresolved {
    /// The words that the loader writes cannot be read.
    #[error("the data of the interpreter's file cannot be read")]
    Unreadable,
    /// The loader has not written them: it is at work, and one may ask again.
    #[error("the loader has not placed the interpreter's thread-locals yet")]
    NotRelocated,
    /// It holds something else than a thread state in a thread that is known.
    #[error("the place of the attached thread state holds something else")]
    Misfit,
}

/// Whether the libc of a process is musl, by the paths of its executable mappings: its loader is its
/// libc, and is called `ld-musl-*`, `libc.musl-*` or, as it is built, `libc.so`, which in glibc is no
/// library.
///
/// A static program has no such mapping and counts as glibc's. That is all the same: thread-locals of
/// a static program are at offsets known when it is linked ([`ThreadLocal::Offset`]), and it loads no
/// interpreter from elsewhere.
pub fn is_musl(mappings: &[Mapping]) -> bool {
    mappings
        .iter()
        .filter_map(|mapping| Path::new(&*mapping.path).file_name()?.to_str())
        .map(|name| name.trim_end_matches(" (deleted)"))
        .any(|name| {
            name.starts_with("ld-musl-") || name.starts_with("libc.musl-") || name == "libc.so"
        })
}

/// Where a thread-local is in a process. `bias` is what was added to the addresses of the file, and
/// `is_musl` says which libc it has ([`is_musl`]).
pub fn resolve<R: ReadUser>(
    thread_local: ThreadLocal,
    bias: u64,
    is_musl: bool,
    reader: &R,
) -> Result<Place, Unresolved> {
    let word = |address: u64| reader.read_u64(address).ok_or(Unresolved::Unreadable);
    let pair = |address: u64| Ok((word(address)?, word(address.wrapping_add(8))?));
    let entry_size = if is_musl { MUSL_ENTRY } else { GLIBC_ENTRY };
    match thread_local {
        ThreadLocal::Offset(offset) => fixed(offset),
        ThreadLocal::OffsetAt(at) => fixed(word(bias.wrapping_add(at))?.cast_signed()),
        ThreadLocal::Module { pair: at, more } => {
            let (module, offset) = pair(bias.wrapping_add(at))?;
            dynamic(module, offset, more, entry_size)
        }
        ThreadLocal::Descriptor { pair: at, more } => {
            let (resolver, argument) = pair(bias.wrapping_add(at))?;
            if resolver == 0 {
                return Err(Unresolved::NotRelocated);
            }
            // The resolver's argument is the offset itself, which is negative, or leads to module id
            // and offset: glibc's `tlsdesc_dynamic_arg`, musl's `td_index`.
            if argument.cast_signed() < 0 {
                return fixed(argument.wrapping_add_signed(more).cast_signed());
            }
            if argument == 0 {
                return Err(Unresolved::NotRelocated);
            }
            let (module, offset) = pair(argument)?;
            dynamic(module, offset, more, entry_size)
        }
    }
}

/// A place at an offset from the thread pointer, if it is one: below it, on x86-64.
fn fixed(offset: i64) -> Result<Place, Unresolved> {
    let below = offset.unsigned_abs();
    if offset < 0 && below <= MAX_OFFSET && below.is_multiple_of(8) {
        Ok(Place::Offset(offset))
    } else {
        Err(Unresolved::NotRelocated)
    }
}

/// A place in the block of a module, if it is one. On x86-64 neither libc takes anything off an offset.
fn dynamic(module: u64, offset: u64, more: i64, entry_size: u8) -> Result<Place, Unresolved> {
    let offset = offset.wrapping_add_signed(more);
    if (1..=MAX_MODULE).contains(&module) && offset <= MAX_OFFSET && offset.is_multiple_of(8) {
        Ok(Place::Dynamic {
            module,
            offset,
            entry_size,
        })
    } else {
        Err(Unresolved::NotRelocated)
    }
}

impl Place {
    /// Notes the place in what the kernel is told of a process.
    pub fn note_in(self, process: &mut Process) {
        match self {
            Self::Offset(offset) => {
                process.thread_local_entry = thread_local::AT_OFFSET;
                process.thread_local = offset.cast_unsigned();
            }
            Self::Dynamic {
                module,
                offset,
                entry_size,
            } => {
                process.thread_local_entry = u32::from(entry_size);
                process.thread_local_module = u32::try_from(module).unwrap_or(u32::MAX);
                process.thread_local = offset;
            }
        }
    }
}

/// What the thread-local holds in the thread with this thread pointer, looked for as the kernel program does;
/// `None` if the thread has no such block yet, because it never used it, or if memory cannot be read.
pub fn read_at<R: ReadUser>(reader: &R, place: Place, thread_pointer: u64) -> Option<u64> {
    let mut process: Process = bytemuck::Zeroable::zeroed();
    place.note_in(&mut process);
    let at = attached_place(reader, &process, thread_pointer)?;
    reader.read_u64(Some(at).filter(|&at| at != 0)?)
}

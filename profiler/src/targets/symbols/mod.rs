//! Names of the functions of one file, by their offset in it.
//!
//! Files of targets are read with `pread` into the agent's memory, never mapped: if a mapped file is truncated, the
//! process that maps it is killed. A worker that may be abandoned ([`workers`](super::workers)) reads them, because a
//! file may lie on a server that is gone. The resulting tables never change, and looking a name up reads nothing.
//!
//! This is no [`Facility`](super::facility::Facility): a facility learns of every file that is mapped, while symbols are
//! wanted of the few files whose code is sampled, which only the data plane knows, and their tables are too large to be
//! made of all. So the data plane asks for them, and keeps them.

mod demangle;
mod read;
mod table;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use self::{
    read::read,
    table::{FileSymbols, Found, Names},
};
use super::{Mapping, workers};
use crate::id::Pid;

/// Most bytes of one file's tables, checked before any of it is read: `libtorch_cpu.so`, one of the largest, has some
/// 50 MB.
const MAX_READ: u64 = 256 << 20;
/// Most functions of one file.
const MAX_FUNCTIONS: usize = 2_000_000;
/// Most bytes kept of one file.
pub const MAX_FILE_BYTES: usize = 64 << 20;
/// Most bytes kept of all files: those used longest ago go.
pub const MAX_BYTES: usize = 128 << 20;
/// Most files kept.
pub const MAX_FILES: usize = 1024;

/// How files are read: a file on a server that is gone holds up the others no longer than samples wait for their names.
pub const WORKERS: workers::Settings = workers::Settings {
    name: "symbols",
    deadline: Duration::from_secs(1),
    max_waiting: MAX_FILES,
    max_abandoned: 8,
};

/// A file that was met, and a process that maps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The process.
    pub pid: Pid,
    /// The mapping.
    pub mapping: Mapping,
}

/// Why code has no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unnamed {
    /// The file has no symbol there.
    NoSymbol,
    /// The code is in no file: it was made at run time, or is the kernel's `[vdso]`.
    NoFile,
    /// The file could not be opened or read.
    Unreadable,
    /// The file is no ELF file of this machine, or is damaged.
    Malformed,
    /// The file has more symbols than the agent reads.
    TooLarge,
    /// The symbols did not come in time.
    Late,
}

impl Unnamed {
    /// Whether a name that is not known now may be known later.
    pub fn may_pass(self) -> bool {
        matches!(self, Self::Unreadable | Self::Late)
    }
}

//! What the data plane gets of a process.

use std::{ops::Range, sync::Arc};

use crate::{
    id::{ProcessKey, Service},
    time::BootNanos,
};

/// A process that is profiled.
#[derive(Clone, Debug)]
pub struct Target {
    /// Which process.
    pub process: ProcessKey,
    /// The service that its CPU is counted for.
    pub service: Arc<Service>,
    /// The container it runs in, if it is known to be in one.
    pub container: Option<Arc<str>>,
    /// Its executable mappings, by address.
    pub mappings: Arc<[Mapping]>,
    /// Its interpreter; `None` while it is not known to run Python.
    pub interpreter: Option<Arc<Interpreter>>,
    /// Whether its spans are seen.
    pub spans: SpansSeen,
    /// Classes of spans that were met in it and that cannot be read.
    pub unread_spans: Arc<[UnreadClass]>,
}

/// A class of spans that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadClass {
    /// Where it is in its process.
    pub address: u64,
    /// Its name behind that of its module; `None` if it is no class of spans.
    pub name: Option<String>,
}

/// Whether the spans of a process are seen: only then a thread that shows none is in none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpansSeen {
    /// The agent has not looked yet.
    #[default]
    NotYet,
    /// Since then: in their contexts, by the hook, or because there is no OpenTelemetry in it.
    Since(BootNanos),
    /// The agent cannot read where they are kept, and there is no hook.
    Never,
}

impl Target {
    /// The executable mapping that holds an address.
    pub fn mapping(&self, address: u64) -> Option<&Mapping> {
        let after = self
            .mappings
            .partition_point(|mapping| mapping.addresses.start <= address);
        let mapping = self.mappings.get(after.checked_sub(1)?)?;
        mapping.addresses.contains(&address).then_some(mapping)
    }
}

/// One mapping of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Where it lies.
    pub addresses: Range<u64>,
    /// Offset in the file of its first byte.
    pub file_offset: u64,
    /// The file, told from all others on the host.
    pub file: FileId,
    /// Whether code in it can be run.
    pub is_executable: bool,
    /// Path as the process sees it, or a bracketed name such as `[vdso]`: to show, not to open.
    pub path: Arc<str>,
}

/// A file on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Device number, as `/proc/PID/maps` has it (major << 20 | minor).
    pub device: u64,
    /// Inode number; 0 if the mapping has no file.
    pub inode: u64,
}

/// The CPython a process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    /// Major, minor and micro version.
    pub version: (u8, u8, u8),
    /// The file that holds `_PyRuntime`.
    pub file: FileId,
    /// Path of that file as the process sees it.
    pub path: Arc<str>,
    /// Its GNU build id in lower-case hex; empty if there is none.
    pub build_id: Arc<str>,
    /// Addresses of the bytecode loop, `_PyEval_EvalFrameDefault`; empty if unknown.
    pub evaluation_loop: Range<u64>,
    /// Whether the file holds CPython and nothing else, as far as can be told.
    pub is_alone: bool,
}

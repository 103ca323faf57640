//! [`SpanSample`](crate::join::SpanSample) → [`NamedSample`]: addresses get names.
//!
//! Must not know how samples are summed, encoded or sent.

mod files;
mod kernel;
mod line_table;
mod long_tables;
mod merge;
mod naming;
mod native;
mod python;
mod stacks;
mod symbolizer;
#[cfg(test)]
mod tests;
mod waiting;

use std::{borrow::Cow, sync::Arc};

pub use self::symbolizer::{Settings, Symbolizer};

use crate::{
    events::ThreadName,
    id::{Pid, Service, Tid},
    join::Attribution,
    measure::Measure,
    time::BootNanos,
};

/// A sample whose frames have names.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedSample {
    /// When.
    pub time: BootNanos,
    /// What it measures.
    pub measure: Measure,
    /// The service that it is of.
    pub service: Arc<Service>,
    /// The container it ran in, if that is known.
    pub container: Option<Arc<str>>,
    /// The process.
    pub pid: Pid,
    /// The thread.
    pub tid: Tid,
    /// The thread's name.
    pub thread_name: ThreadName,
    /// The span it belongs to, or why there is none.
    pub attribution: Attribution,
    /// The stack, leaf first: kernel, native and Python frames. Equal stacks share one allocation, and so do equal
    /// frames, as long as the caches hold them.
    pub stack: Arc<[Arc<Frame>]>,
}

/// One code location, named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// What runs it.
    pub kind: FrameKind,
    /// Function name: `co_qualname`, a symbol, or a marker such as `[truncated]`.
    pub name: Arc<str>,
    /// Whether that is a name, and not a place in a file (`libc.so.6+0x9c3d1`) because there is no symbol.
    pub is_named: bool,
    /// Source file as the code object has it; empty if unknown.
    pub file: Arc<str>,
    /// Current line, from 1; 0 if unknown.
    pub line: u32,
    /// First line of the function; 0 if unknown.
    pub start_line: u32,
    /// The mapped file the code belongs to.
    pub mapping: Arc<MappedFile>,
}

impl Frame {
    /// Its name, with the suffix `_[k]` on frames of the kernel: flame graph tools recognise them by it.
    pub fn marked_name(&self) -> Cow<'_, str> {
        match self.kind {
            FrameKind::Kernel => Cow::Owned(format!("{}_[k]", self.name)),
            _ => Cow::Borrowed(&self.name),
        }
    }
}

/// What runs a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FrameKind {
    /// CPython's bytecode.
    Python,
    /// Machine code in user space.
    Native,
    /// Machine code of a file that holds CPython and nothing else: the machinery that runs the Python frame below it.
    Interpreter,
    /// The kernel.
    Kernel,
    /// No code: it says what is missing here.
    Marker,
}

/// A file with code: an executable, a library, the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MappedFile {
    /// Its path as the process sees it, or a bracketed name (`[kernel]`).
    pub path: String,
    /// GNU build id in lower-case hex; empty if there is none.
    pub build_id: String,
}

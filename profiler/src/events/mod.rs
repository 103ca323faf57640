//! Bytes of the ring → [`Event`].
//!
//! In: records as the kernel programs wrote them. Out: checked, owned values, in ring order.
//! Must not know: which processes matter, what a span means, what an address is called.

mod decode;
mod strings;

use std::collections::BTreeMap;

use profiler_common::outcome::Outcome;

pub use self::{
    decode::{DecodeError, decode, is_sample, records},
    strings::printable,
};

use crate::{
    id::{Pid, ProcessKey, SpanId, SpanIds, Tid, TraceId},
    measure::Measure,
    time::BootNanos,
};

/// One thing that happened on the host.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The sampling clock hit a thread.
    Sample(Sample),
    /// A code object was seen for the first time.
    Code(Code),
    /// The line table of a code object goes on.
    LineTable(LineTablePart),
    /// A span has started.
    SpanStart(SpanStart),
    /// A span was current in a sample for the first time, or under a new name.
    SpanSeen(SpanSeen),
    /// A span has ended.
    SpanEnd(SpanEnd),
    /// A process has come, changed or gone.
    Process(ProcessNotice),
    /// A process has told its OpenTelemetry resource.
    Resource(Resource),
}

/// One hit of the sampling clock on one thread.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When.
    pub time: BootNanos,
    /// What it is worth.
    pub measure: Measure,
    /// Where.
    pub process: ProcessKey,
    /// The thread.
    pub tid: Tid,
    /// The thread's name.
    pub thread_name: ThreadName,
    /// What the thread's span stack said.
    pub span: SpanStamp,
    /// What it ran.
    pub stack: Stack,
    /// Python frames that its stack lacks in its middle.
    pub python_frames_omitted: u16,
}

/// A thread's stack, not yet named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stack {
    /// Kernel addresses, leaf first.
    pub kernel: Vec<u64>,
    /// Native (user) addresses, leaf first.
    pub native: Vec<u64>,
    /// How the native walk ended.
    pub native_outcome: Outcome,
    /// Python frames, leaf first.
    pub python: Vec<PythonFrame>,
    /// Python frames left out in front of the last [`OUTERMOST_FRAMES`](profiler_common::limits::OUTERMOST_FRAMES), rounded
    /// down to a power of two, so that a recursion has few different stacks; 0 if none are.
    pub python_gap: u16,
    /// How the Python walk ended.
    pub python_outcome: Outcome,
}

/// A thread's name as the kernel keeps it: up to 15 bytes, NUL-padded, of any encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ThreadName(pub [u8; 16]);

impl ThreadName {
    /// The name as text: anything that is not UTF-8 is replaced, and what would break a line escaped.
    pub fn to_text(self) -> String {
        let end = self
            .0
            .iter()
            .position(|&byte| byte == 0)
            .unwrap_or(self.0.len());
        printable(&String::from_utf8_lossy(
            self.0.get(..end).unwrap_or_default(),
        ))
        .into_owned()
    }
}

/// What a thread's span stack said when the sample was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanStamp {
    /// The thread's context holds no span.
    None,
    /// The span that the thread's context holds is one that the process does not record; its ids, if they were asked for.
    NotRecorded(Option<SpanIds>),
    /// The thread's context was not read, and its span stack is empty.
    EmptyStack,
    /// This span is the innermost open one, all others are its ancestors.
    Active {
        /// The active span.
        span: SpanId,
        /// Its local root.
        local_root: SpanId,
        /// Its trace.
        trace: Option<TraceId>,
    },
    /// Spans are open that are not nested in one another.
    NotNested,
    /// The span that the thread's context holds has ended.
    Ended,
    /// Each span left on the thread's stack has ended on another thread, or the kernel's map had no room for it: the
    /// innermost.
    Stale(SpanId),
    /// More spans are open than are kept.
    TooDeep,
    /// The thread's context says that this span is current.
    Current {
        /// The current span.
        span: SpanId,
        /// Its trace.
        trace: Option<TraceId>,
    },
    /// The thread's context could not be followed to a span.
    Context(ContextFailure),
}

/// Where the way from a thread's context to its current span ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContextFailure {
    /// Memory on the way is not resident.
    Unreadable,
    /// Something is not what the recipe says.
    Unexpected,
    /// The span is of a class that the recipe does not know; 0 if it is an instance of a class
    /// that it does.
    ClassUnknown(u64),
    /// Something has more entries than are looked at.
    TooLarge,
    /// Nothing proves which thread state the thread runs in.
    ThreadStateUnknown,
    /// How spans are read in the thread's interpreter, not its process's main one, is not known.
    InterpreterUnknown,
}

/// One Python frame, not yet named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PythonFrame {
    /// Which code object.
    pub code: CodeId,
    /// Offset of the current instruction in bytes; negative before the first.
    pub instruction: i32,
}

/// A code object within one process: its address, and a checksum that tells it from another one
/// that took the address over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CodeId {
    /// Address of the code object.
    pub address: u64,
    /// Mix of its fields.
    pub checksum: u32,
}

/// A code object as the kernel program read it.
#[derive(Clone, Debug, PartialEq)]
pub struct Code {
    /// Whose.
    pub process: ProcessKey,
    /// Which.
    pub id: CodeId,
    /// `co_firstlineno`.
    pub first_line: i32,
    /// `co_qualname`, or `co_name` before 3.11.
    pub name: PythonString,
    /// `co_filename`.
    pub file: PythonString,
    /// The line table's format, one of [`profiler_common::python::line_table`].
    pub line_table_format: u8,
    /// The line table; `None` if it could not be read.
    pub line_table: Option<Vec<u8>>,
    /// Whether the line table lacks its end.
    pub line_table_cut: bool,
}

/// A further part of the line table of a code object that was seen before.
#[derive(Clone, Debug, PartialEq)]
pub struct LineTablePart {
    /// Whose.
    pub process: ProcessKey,
    /// Of which code object.
    pub code: CodeId,
    /// Where in the table it belongs.
    pub offset: usize,
    /// The part.
    pub bytes: Vec<u8>,
    /// Whether no further part comes.
    pub is_last: bool,
    /// Whether the table lacks its end, which does not come.
    pub is_cut: bool,
}

/// A Python string as stored: characters of 1 (Latin-1), 2 or 4 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonString {
    /// Bytes a character has; 0 if the string could not be read.
    pub kind: u8,
    /// The characters, in the machine's byte order.
    pub bytes: Vec<u8>,
    /// Whether the end is missing.
    pub cut: bool,
}

/// A span has started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanStart {
    /// When.
    pub time: BootNanos,
    /// In which process.
    pub pid: Pid,
    /// On which thread.
    pub tid: Tid,
    /// The span.
    pub span: SpanId,
    /// Its trace.
    pub trace: Option<TraceId>,
    /// Its parent, if it has one.
    pub parent: Option<SpanId>,
    /// Its local root: itself, if it is one.
    pub local_root: SpanId,
    /// Its name, cut to what crosses the ring; `None` if it could not be read.
    pub name: Option<Box<str>>,
}

/// A span that was current in a sample for the first time, or under a new name, as its object tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanSeen {
    /// When.
    pub time: BootNanos,
    /// In which process.
    pub pid: Pid,
    /// The span.
    pub span: SpanId,
    /// Its parent in this process.
    pub parent: SpanParent,
    /// Its local root, if the hook has left it in the span's context.
    pub local_root: Option<SpanId>,
    /// Its name; `None` if the object has none, or it could not be read.
    pub name: Option<Box<str>>,
    /// Whether it was told before, and its name may be another one now.
    pub is_again: bool,
}

/// What is known of a span's parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanParent {
    /// It has none in this process: it is a local root.
    None,
    /// This one.
    Span(SpanId),
    /// Nothing tells.
    Unknown,
}

/// A span has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanEnd {
    /// When.
    pub time: BootNanos,
    /// In which process.
    pub pid: Pid,
    /// On which thread.
    pub tid: Tid,
    /// The span.
    pub span: SpanId,
}

/// A process has come, changed or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessNotice {
    /// When.
    pub time: BootNanos,
    /// The process.
    pub pid: Pid,
    /// What happened.
    pub what: ProcessChange,
}

/// What happened to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessChange {
    /// It was forked from another.
    Fork {
        /// The parent.
        parent: Pid,
        /// When the child started, in clock ticks since boot.
        start_time: u64,
    },
    /// It replaced its program.
    Exec,
    /// Its last thread is gone.
    Exit,
}

/// The OpenTelemetry resource of a process, as far as profiles need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// The process.
    pub pid: Pid,
    /// `service.name`; empty if the application gives none.
    pub service_name: String,
    /// `service.namespace`; empty if there is none.
    pub service_namespace: String,
    /// Further attributes by their names, no value of them empty; `None` if they were not asked for,
    /// or the hook is of a release that does not tell them.
    pub attributes: Option<BTreeMap<String, String>>,
}

//! [`Event`](crate::events::Event) → [`SpanSample`]: which span a sample belongs to, or why none.
//!
//! Pure: no files, sockets or clocks. Must not know names of frames, services or servers.

use std::sync::Arc;

use crate::{
    events::Sample,
    id::{SpanId, TraceId},
};

/// A sample with the span it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanSample {
    /// The sample.
    pub sample: Sample,
    /// Its span, or why there is none.
    pub attribution: Attribution,
}

/// The span a sample belongs to, or why none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attribution {
    /// The sample ran in this span.
    Span(SpanContext),
    /// The thread was in no span.
    NoSpan,
    /// The thread may have been in a span, but nobody can say which.
    Unattributed(Reason),
}

/// Why a sample that may belong to a span has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Spans open in the thread are not nested in one another.
    NotNested,
    /// What was on the thread's stack has ended elsewhere, or was evicted.
    Ended,
    /// More spans are open than are kept.
    TooDeep,
    /// The thread runs an event loop.
    EventLoop,
}

/// A span's place in its trace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpanContext {
    /// The trace.
    pub trace: Option<TraceId>,
    /// The local root: the span's topmost ancestor in this process.
    pub local_root: NamedSpan,
    /// The span current in the thread.
    pub active: NamedSpan,
}

/// A span and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedSpan {
    /// The span.
    pub id: SpanId,
    /// Its name; `None` where it started before the agent, or its record was lost.
    pub name: Option<Arc<str>>,
}

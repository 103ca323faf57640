//! [`Event`](crate::events::Event) → [`SpanSample`]: which span a sample belongs to, or why none.
//!
//! Pure: no files, sockets or clocks. Must not know names of frames, services or servers.

mod attribute;
mod event_loops;
mod lineage;
mod spans;
#[cfg(test)]
mod tests;

use std::{num::NonZeroUsize, sync::Arc};

use self::{event_loops::EventLoops, spans::Spans};
use crate::{
    events::{
        Code, ContextFailure, ProcessChange, ProcessNotice, Sample, SpanEnd, SpanSeen, SpanStart,
    },
    health::{Health, Loss},
    id::{SpanId, SpanIds, TraceId},
};

/// What is known of spans, and of what makes the thread's span stack unfit to name one.
#[derive(Debug)]
pub struct Join {
    spans: Spans,
    event_loops: EventLoops,
}

/// A span that has been seen to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenSpan {
    /// Its name; `None` if it could not be read.
    pub name: Option<Arc<str>>,
    /// Whether it is its own local root.
    pub is_local_root: bool,
}

impl Join {
    /// Remembers at most `max_spans` spans; the least recently used goes, and is counted.
    pub fn new(max_spans: usize, health: Health) -> Self {
        let max = NonZeroUsize::new(max_spans).unwrap_or(NonZeroUsize::MIN);
        Self {
            spans: Spans::new(max, health),
            event_loops: EventLoops::default(),
        }
    }

    /// A span has started.
    pub fn span_start(&mut self, start: &SpanStart) -> SeenSpan {
        let name = self.spans.start(start);
        SeenSpan {
            name,
            is_local_root: start.local_root == start.span,
        }
    }

    /// A span was current in a sample for the first time.
    pub fn span_seen(&mut self, seen: &SpanSeen) -> SeenSpan {
        let (name, is_local_root) = self.spans.seen(seen);
        SeenSpan {
            name,
            is_local_root,
        }
    }

    /// A span has ended.
    pub fn span_end(&mut self, end: &SpanEnd) {
        self.spans.end(end);
    }

    /// A code object was seen for the first time.
    pub fn code(&mut self, code: &Code) {
        self.event_loops.learn(code);
    }

    /// A process has come, changed or gone.
    pub fn process(&mut self, notice: &ProcessNotice) {
        match notice.what {
            ProcessChange::Fork { parent, .. } => self.spans.fork(notice.pid, parent),
            ProcessChange::Exec | ProcessChange::Exit => {
                self.spans.forget_process(notice.pid);
                self.event_loops.forget(notice.pid);
            }
        }
    }

    /// Finds the span a sample belongs to. `unseen` says why the thread may be in a span that neither
    /// its context nor its span stack shows, if that may be.
    pub fn sample(&mut self, sample: Sample, unseen: Option<Unseen>) -> SpanSample {
        let in_event_loop = self
            .event_loops
            .are_on(sample.process, &sample.stack.python);
        let surroundings = Surroundings {
            in_event_loop,
            unseen,
        };
        let attribution = attribute::attribute(&sample, surroundings, &mut self.spans);
        SpanSample {
            sample,
            attribution,
        }
    }
}

/// A sample with the span it belongs to.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanSample {
    /// The sample.
    pub sample: Sample,
    /// Its span, or why there is none.
    pub attribution: Attribution,
}

/// The span a sample belongs to, or why none.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Attribution {
    /// The sample ran in this span.
    Span(SpanContext),
    /// The thread was in no span.
    NoSpan,
    /// The thread was in a span that its process does not record, so no trace has it; its ids, if they were asked for.
    NotRecorded(Option<SpanIds>),
    /// The thread runs no Python, so it can be in no span.
    NativeThread,
    /// The thread may have been in a span, but it is not known which.
    Unattributed(Reason),
}

impl Attribution {
    /// What a sample counts as: attributed, or what it is instead.
    pub fn counts_as(&self) -> Loss {
        match self {
            Self::Span(_) => Loss::SampleAttributed,
            Self::NoSpan => Loss::SampleOutsideSpans,
            Self::NotRecorded(_) => Loss::SpanNotRecorded,
            Self::NativeThread => Loss::SampleOfNativeThread,
            Self::Unattributed(reason) => reason.counts_as(),
        }
    }

    /// Whether the sample is in a span that lacks its name, or whose local root does.
    pub fn lacks_name(&self) -> bool {
        let Self::Span(context) = self else {
            return false;
        };
        let root = context.local_root.as_ref();
        context.active.name.is_none() || root.is_some_and(|root| root.name.is_none())
    }
}

/// Why a sample that may belong to a span has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Spans open in the thread are not nested in one another.
    NotNested,
    /// The span that the thread's context holds has ended.
    Ended,
    /// It has ended in the process that has begun it, and that this one was forked from.
    EndedInParent,
    /// The span that is on the thread's stack has ended on another thread.
    EndedOnOtherThread,
    /// The span that is on the thread's stack was forgotten: more spans are open than there is room for.
    Forgotten,
    /// More spans are open than are kept.
    TooDeep,
    /// The thread runs an event loop, and its context cannot be read.
    EventLoop,
    /// The thread's context could not be followed to a span.
    Context(ContextFailure),
    /// The thread's context was not read.
    Unseen(Unseen),
}

impl Reason {
    fn counts_as(self) -> Loss {
        match self {
            Self::NotNested => Loss::SpanNotNested,
            Self::Ended => Loss::CurrentSpanEnded,
            Self::EndedInParent => Loss::SpanEndedInParent,
            Self::EndedOnOtherThread => Loss::SpanEndedOnOtherThread,
            Self::Forgotten => Loss::OpenSpanForgotten,
            Self::TooDeep => Loss::SpanTooDeep,
            Self::EventLoop => Loss::SpanEventLoop,
            Self::Unseen(Unseen::Pending) => Loss::ContextPending,
            Self::Unseen(Unseen::Hidden) => Loss::ContextHidden,
            Self::Unseen(Unseen::Class) => Loss::SpanClassUnread,
            Self::Context(ContextFailure::Unreadable) => Loss::ContextUnreadable,
            Self::Context(ContextFailure::Unexpected) => Loss::ContextUnexpected,
            Self::Context(ContextFailure::ClassUnknown(_)) => Loss::SpanClassNew,
            Self::Context(ContextFailure::TooLarge) => Loss::ContextTooLarge,
            Self::Context(ContextFailure::ThreadStateUnknown) => Loss::ThreadStateUnknown,
            Self::Context(ContextFailure::InterpreterUnknown) => Loss::InterpreterUnknown,
        }
    }
}

/// Why the spans of a process may not be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unseen {
    /// How to read its contexts is being worked out.
    Pending,
    /// Its contexts are of a kind that cannot be read, and there is no hook in it.
    Hidden,
    /// The current span is of a class that the agent has looked at and cannot read.
    Class,
}

/// What a sample's process and stack say of its span stack.
#[derive(Clone, Copy, Debug, Default)]
struct Surroundings {
    in_event_loop: bool,
    unseen: Option<Unseen>,
}

/// A span's place in its trace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpanContext {
    /// The trace.
    pub trace: Option<TraceId>,
    /// The local root: the span's topmost ancestor in this process; `None` if that is not known.
    pub local_root: Option<NamedSpan>,
    /// The span current in the thread.
    pub active: NamedSpan,
}

/// A span and its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NamedSpan {
    /// The span.
    pub id: SpanId,
    /// Its name; `None` if it started before the agent, or its record was lost.
    pub name: Option<Arc<str>>,
}

//! The label vocabulary, in one place: every key that a sample can carry, and its value for a row.

use std::{collections::HashMap, fmt, sync::Arc};

use crate::{
    events::ThreadName,
    id::{Pid, Service, SpanId, Tid, TraceId},
    join::{Attribution, NamedSpan, SpanContext},
};

/// The name of every span that its process does not record.
pub(super) const NOT_RECORDED: &str = "(not recorded)";
/// Longest value of a label, in bytes: readers refuse longer ones.
pub const MAX_VALUE: usize = 2_048;

/// Everything that is known of the samples of a row besides their stack and their measure. If the spans, or the
/// threads, of several rows of a window are equal, the rows share one allocation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Labels {
    /// The span they were taken in, or why there is none; `None` if the window had no room for it.
    pub span: Option<Arc<SpanLabels>>,
    /// The service, container and thread.
    pub origin: Arc<Origin>,
}

/// What is known of the span of samples.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SpanLabels {
    /// All of it: both spans and their trace, or why there is none.
    All(Attribution),
    /// What one mode needs, if the window had no room for more.
    Few {
        /// The mode.
        mode: SpanLabel,
        /// The span of that mode.
        span: NamedSpan,
        /// The trace.
        trace: Option<TraceId>,
        /// Whether it is the active one because the local root is not known.
        stands_in: bool,
    },
}

impl SpanLabels {
    /// The labels of a span that a mode needs.
    pub(super) fn few(context: &SpanContext, mode: SpanLabel) -> Self {
        Self::Few {
            mode,
            span: mode.span(context).clone(),
            trace: context.trace,
            stands_in: mode.stands_in(context),
        }
    }

    /// The spans that it names.
    pub(super) fn spans(&self) -> impl Iterator<Item = &NamedSpan> {
        let (one, other) = match self {
            Self::All(Attribution::Span(context)) => {
                (Some(&context.active), context.local_root.as_ref())
            }
            Self::Few { span, .. } => (Some(span), None),
            Self::All(_) => (None, None),
        };
        one.into_iter().chain(other)
    }

    /// The same, with other names of some spans.
    pub(super) fn renamed(&self, names: &HashMap<SpanId, Arc<str>>) -> Self {
        let mut renamed = self.clone();
        let rename = |span: &mut NamedSpan| {
            if let Some(name) = names.get(&span.id) {
                span.name = Some(Arc::clone(name));
            }
        };
        match &mut renamed {
            Self::All(Attribution::Span(context)) => {
                rename(&mut context.active);
                if let Some(root) = &mut context.local_root {
                    rename(root);
                }
            }
            Self::Few { span, .. } => rename(span),
            Self::All(_) => {}
        }
        renamed
    }

    /// The value of a key, under a mode; `None` if that is not known, or the key is about something else.
    pub(super) fn value(&self, key: Key, mode: SpanLabel) -> Option<String> {
        let (span, active, trace, stands_in) = match self {
            Self::All(Attribution::Span(context)) => (
                Some(mode.span(context)),
                Some(&context.active),
                context.trace,
                mode.stands_in(context),
            ),
            Self::All(Attribution::NotRecorded(ids)) => {
                return match key {
                    Key::SpanName => Some(NOT_RECORDED.to_owned()),
                    Key::SpanId | Key::ActiveSpanId => ids.map(|ids| ids.id.to_string()),
                    Key::TraceId => ids.and_then(|ids| Some(ids.trace?.to_string())),
                    _ => None,
                };
            }
            Self::All(
                Attribution::NoSpan | Attribution::NativeThread | Attribution::Unattributed(_),
            ) => return None,
            Self::Few {
                mode: of,
                span,
                trace,
                stands_in,
            } => ((*of == mode).then_some(span), None, *trace, *stands_in),
        };
        let name = |span: &NamedSpan| span.name.as_ref().map(ToString::to_string);
        match key {
            Key::SpanId => span.map(|span| span.id.to_string()),
            Key::SpanName => span.and_then(name),
            Key::TraceId => trace.map(|trace| trace.to_string()),
            Key::ActiveSpanId => active.map(|span| span.id.to_string()),
            Key::ActiveSpanName => active.and_then(name),
            Key::SpanLabel => stands_in.then(|| "active".to_owned()),
            Key::Pid | Key::Tid | Key::ThreadName | Key::ServiceName | Key::ContainerId => None,
        }
    }
}

/// What ran when samples were taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The service.
    pub service: Arc<Service>,
    /// The container, if that is known.
    pub container: Option<Arc<str>>,
    /// The thread; `None` if the window had no room for it.
    pub thread: Option<Thread>,
}

impl Origin {
    /// The value of a key; `None` if that is not known, or the key is about something else.
    pub(super) fn value(&self, key: Key) -> Option<String> {
        match key {
            Key::Pid => self.thread.map(|it| it.pid.to_string()),
            Key::Tid => self.thread.map(|it| it.tid.to_string()),
            Key::ThreadName => self.thread.map(|it| it.name.to_text()),
            Key::ServiceName => Some(self.service.name.clone()),
            Key::ContainerId => self.container.as_ref().map(ToString::to_string),
            Key::SpanId
            | Key::SpanName
            | Key::TraceId
            | Key::ActiveSpanId
            | Key::ActiveSpanName
            | Key::SpanLabel => None,
        }
    }
}

/// A thread of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Thread {
    /// The process.
    pub pid: Pid,
    /// The thread.
    pub tid: Tid,
    /// The thread's name.
    pub name: ThreadName,
}

/// Which span `span_id` and `span_name` are about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SpanLabel {
    /// The topmost span of the request in this process: its flame graph includes its children.
    #[default]
    LocalRoot,
    /// The span current in the thread: its flame graph excludes its children.
    Active,
}

impl SpanLabel {
    /// The span of a context that this mode is about: the active span, too, if the local root is not known.
    pub fn span(self, context: &SpanContext) -> &NamedSpan {
        match self {
            Self::LocalRoot => context.local_root.as_ref().unwrap_or(&context.active),
            Self::Active => &context.active,
        }
    }

    /// Whether the active span of a context stands in for its local root, which this mode is about and which is not
    /// known.
    pub fn stands_in(self, context: &SpanContext) -> bool {
        self == Self::LocalRoot && context.local_root.is_none()
    }
}

/// A key of a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// The span that the sample counts for, by the label mode: 16 lower-case hex digits.
    SpanId,
    /// That span's name.
    SpanName,
    /// The trace: 32 lower-case hex digits.
    TraceId,
    /// The span current in the thread: 16 lower-case hex digits.
    ActiveSpanId,
    /// That span's name.
    ActiveSpanName,
    /// Says that `span_id` is the active span and not that of the label mode, because the local root is not known.
    SpanLabel,
    /// The process.
    Pid,
    /// The thread.
    Tid,
    /// The thread's name.
    ThreadName,
    /// The service.
    ServiceName,
    /// The container: 64 hexadecimal digits.
    ContainerId,
}

impl Key {
    /// Every key, in the order in which samples carry them.
    pub const ALL: [Self; 11] = [
        Self::SpanId,
        Self::SpanName,
        Self::TraceId,
        Self::ActiveSpanId,
        Self::ActiveSpanName,
        Self::SpanLabel,
        Self::Pid,
        Self::Tid,
        Self::ThreadName,
        Self::ServiceName,
        Self::ContainerId,
    ];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SpanId => "span_id",
            Self::SpanName => "span_name",
            Self::TraceId => "trace_id",
            Self::ActiveSpanId => "active_span_id",
            Self::ActiveSpanName => "active_span_name",
            Self::SpanLabel => "span_label",
            Self::Pid => "pid",
            Self::Tid => "tid",
            Self::ThreadName => "thread_name",
            Self::ServiceName => "service_name",
            Self::ContainerId => "container_id",
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// Cuts a label's value to what readers take; the end then marks the cut.
pub fn cut_value(value: &mut String) {
    const MARK: char = '…';
    if value.len() > MAX_VALUE {
        value.truncate(value.floor_char_boundary(MAX_VALUE - MARK.len_utf8()));
        value.push(MARK);
    }
}

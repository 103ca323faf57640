//! The label vocabulary, in one place: every key a sample can carry, and when it does.
//!
//! Towards Pyroscope labels cost: all but `span_id` and `trace_id` become series labels there
//! (`pkg/model/pprofsplit` of grafana/pyroscope), and `trace_id` does too before release 2.1.

use std::sync::Arc;

use crate::{
    events::ThreadName,
    id::{Pid, Service, Tid, TraceId},
    join::{Attribution, NamedSpan, SpanContext},
    symbolize::NamedSample,
};

/// The span whose CPU a sample is, by the label mode: 16 lower-case hex digits.
pub const SPAN_ID: &str = "span_id";
/// That span's name.
pub const SPAN_NAME: &str = "span_name";
/// The trace: 32 lower-case hex digits.
pub const TRACE_ID: &str = "trace_id";
/// The span current in the thread: 16 lower-case hex digits.
pub const ACTIVE_SPAN_ID: &str = "active_span_id";
/// That span's name.
pub const ACTIVE_SPAN_NAME: &str = "active_span_name";
/// The container: 64 hexadecimal digits.
pub const CONTAINER_ID: &str = "container_id";
/// Says that `span_id` is not by the label mode but of the active span, as the local root is not known.
pub const SPAN_LABEL: &str = "span_label";
/// The process.
pub const PID: &str = "pid";
/// The thread.
pub const TID: &str = "tid";
/// The thread's name.
pub const THREAD_NAME: &str = "thread_name";
/// The service.
pub const SERVICE_NAME: &str = "service_name";

/// Longest value of a label, in bytes: the server refuses a whole profile for one longer, as
/// `span_name` becomes a series label there.
pub const MAX_VALUE: usize = 2_048;

/// Which span `span_id` and `span_name` speak of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SpanLabel {
    /// The topmost span of the request in this process: its flame graph includes its children.
    #[default]
    LocalRoot,
    /// The span current in the thread: its flame graph excludes its children.
    Active,
}

impl SpanLabel {
    /// The span of a context this mode speaks of: the active one, too, where the local root is not known.
    pub fn span(self, context: &SpanContext) -> &NamedSpan {
        match self {
            Self::LocalRoot => context.local_root.as_ref().unwrap_or(&context.active),
            Self::Active => &context.active,
        }
    }
}

impl SpanLabel {
    /// Whether a sample is labelled with its active span because nobody knows the local root that it should
    /// be labelled with.
    pub(super) fn falls_back(self, attribution: &Attribution) -> bool {
        let Attribution::Span(context) = attribution else {
            return false;
        };
        self == Self::LocalRoot && context.local_root.is_none()
    }
}

/// Which labels samples carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LabelSet {
    /// `span_id` and `container_id`, so that a server keeps few series.
    Pyroscope {
        /// Whether to add `span_name`: one series per name.
        span_name: bool,
        /// Whether to add `trace_id`: one series per trace on servers before 2.1.
        trace_id: bool,
    },
    /// Every label there is.
    File,
}

/// The labels of a sample. Cloning copies no text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels {
    span: Option<NamedSpan>,
    active: Option<NamedSpan>,
    trace: Option<TraceId>,
    /// Whether the span is the active one because its local root is not known.
    stands_in: bool,
    thread: Option<(Pid, Tid, ThreadName)>,
    container: Option<Arc<str>>,
}

impl Labels {
    /// The labels of a sample under a set and a mode.
    pub fn of(sample: &NamedSample, set: LabelSet, span_label: SpanLabel) -> Self {
        let context = match &sample.attribution {
            Attribution::Span(context) => Some(context),
            Attribution::NoSpan | Attribution::Unattributed(_) => None,
        };
        let span = context.map(|context| span_label.span(context).clone());
        let trace = context.and_then(|context| context.trace);
        let container = sample.container.clone();
        match set {
            LabelSet::Pyroscope {
                span_name,
                trace_id,
            } => Self {
                // Without its name a span is the same whatever it was called: one row.
                span: span.map(|span| NamedSpan {
                    name: span.name.filter(|_| span_name),
                    ..span
                }),
                trace: trace.filter(|_| trace_id),
                container,
                ..Self::default()
            },
            LabelSet::File => Self {
                span,
                active: context.map(|context| context.active.clone()),
                stands_in: span_label.falls_back(&sample.attribution),
                trace,
                thread: Some((sample.pid, sample.tid, sample.thread_name)),
                container,
            },
        }
    }

    /// Key and value of each label, keys all different. A label whose value is not known is left
    /// out, never empty.
    pub fn pairs(&self, service: &Service) -> Vec<(&'static str, String)> {
        let mut pairs = Vec::new();
        push_span(&mut pairs, self.span.as_ref(), SPAN_ID, SPAN_NAME);
        if let Some(trace) = self.trace {
            pairs.push((TRACE_ID, trace.to_string()));
        }
        let (id, name) = (ACTIVE_SPAN_ID, ACTIVE_SPAN_NAME);
        push_span(&mut pairs, self.active.as_ref(), id, name);
        if self.stands_in {
            pairs.push((SPAN_LABEL, "active".to_owned()));
        }
        if let Some((pid, tid, thread_name)) = self.thread {
            pairs.push((PID, pid.to_string()));
            pairs.push((TID, tid.to_string()));
            pairs.push((THREAD_NAME, thread_name.to_text()));
            pairs.push((SERVICE_NAME, service.name.clone()));
        }
        if let Some(container) = &self.container {
            pairs.push((CONTAINER_ID, container.to_string()));
        }
        pairs.retain(|(_, value)| !value.is_empty());
        for (_, value) in &mut pairs {
            cut_value(value);
        }
        pairs
    }
}

/// Cuts a label's value to what the server takes; the end then says so.
pub fn cut_value(value: &mut String) {
    const MARK: char = '…';
    if value.len() > MAX_VALUE {
        value.truncate(value.floor_char_boundary(MAX_VALUE - MARK.len_utf8()));
        value.push(MARK);
    }
}

fn push_span(
    pairs: &mut Vec<(&'static str, String)>,
    span: Option<&NamedSpan>,
    id: &'static str,
    name: &'static str,
) {
    let Some(span) = span else { return };
    pairs.push((id, span.id.to_string()));
    if let Some(text) = &span.name {
        pairs.push((name, text.to_string()));
    }
}

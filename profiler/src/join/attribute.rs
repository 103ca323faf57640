//! Which span a sample belongs to, or why none.

use profiler_common::outcome::Outcome;

use super::{Attribution, NamedSpan, Reason, SpanContext, Surroundings, Unseen, spans::Spans};
use crate::{
    events::{ContextFailure, Sample, SpanStamp},
    id::{Pid, SpanId, TraceId},
};

/// Resolves what the kernel program stamped the sample with.
pub(super) fn attribute(
    sample: &Sample,
    surroundings: Surroundings,
    spans: &mut Spans,
) -> Attribution {
    let pid = sample.process.pid;
    let reason = match sample.span {
        // No interpreter has a state for it: it is in no context and in no event loop.
        SpanStamp::None | SpanStamp::EmptyStack
            if sample.stack.python_outcome == Outcome::NoThreadState =>
        {
            return Attribution::NativeThread;
        }
        SpanStamp::None => return Attribution::NoSpan,
        SpanStamp::NotRecorded(ids) => return Attribution::NotRecorded(ids),
        SpanStamp::EmptyStack => match surroundings.unseen {
            None => return Attribution::NoSpan,
            Some(unseen) => Reason::Unseen(unseen),
        },
        // A forked child's copy of a span never ends.
        SpanStamp::Current { span, .. } if spans.has_ended_in_ancestor(pid, span) => {
            Reason::EndedInParent
        }
        // The interpreter's own answer is right in an event loop too.
        SpanStamp::Current { span, trace } => {
            let local_root = spans.local_root(pid, span);
            return in_span(pid, trace, span, local_root, spans);
        }
        // Which class it is matters to the control plane only.
        SpanStamp::Context(ContextFailure::ClassUnknown(_)) => match surroundings.unseen {
            Some(unseen @ Unseen::Class) => Reason::Unseen(unseen),
            _ => Reason::Context(ContextFailure::ClassUnknown(0)),
        },
        SpanStamp::Ended => Reason::Ended,
        SpanStamp::Context(failure) => Reason::Context(failure),
        _ if surroundings.in_event_loop => Reason::EventLoop,
        SpanStamp::Active {
            span,
            local_root,
            trace,
        } => return in_span(pid, trace, span, Some(local_root), spans),
        SpanStamp::NotNested => Reason::NotNested,
        SpanStamp::Stale(span) if spans.has_ended_on_other_thread(pid, span) => {
            Reason::EndedOnOtherThread
        }
        SpanStamp::Stale(_) => Reason::Forgotten,
        SpanStamp::TooDeep => Reason::TooDeep,
    };
    Attribution::Unattributed(reason)
}

/// In a span that is known, with the names of it and of its local root.
fn in_span(
    pid: Pid,
    trace: Option<TraceId>,
    span: SpanId,
    local_root: Option<SpanId>,
    spans: &mut Spans,
) -> Attribution {
    let active = named(pid, span, spans);
    let local_root = local_root.map(|root| {
        if root == span {
            active.clone()
        } else {
            named(pid, root, spans)
        }
    });
    Attribution::Span(SpanContext {
        trace,
        local_root,
        active,
    })
}

fn named(pid: Pid, id: SpanId, spans: &mut Spans) -> NamedSpan {
    let name = spans.name(pid, id);
    NamedSpan { id, name }
}

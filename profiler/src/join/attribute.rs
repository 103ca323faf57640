//! Which span a sample belongs to, or why none.

use super::{Attribution, NamedSpan, Reason, SpanContext, Surroundings, Unseen, spans::Spans};
use crate::{
    events::{ContextFailure, Sample, SpanStamp},
    health::{Health, Loss},
    id::{Pid, SpanId},
};

/// Resolves what the kernel program stamped the sample with.
pub(super) fn attribute(
    sample: &Sample,
    surroundings: Surroundings,
    spans: &mut Spans,
    health: &Health,
) -> Attribution {
    let reason = match sample.span {
        SpanStamp::None => return Attribution::NoSpan,
        SpanStamp::EmptyStack => match surroundings.unseen {
            None => return Attribution::NoSpan,
            Some(unseen) => Reason::Unseen(unseen),
        },
        // The interpreter's own answer is right in an event loop too.
        SpanStamp::Current { span, trace } => {
            let pid = sample.process.pid;
            let local_root = spans.local_root(pid, span);
            let active = named(pid, span, spans, health);
            let local_root = local_root.map(|root| {
                if root == span {
                    active.clone()
                } else {
                    named(pid, root, spans, health)
                }
            });
            return Attribution::Span(SpanContext {
                trace,
                local_root,
                active,
            });
        }
        // Which class it is matters to the control plane only.
        SpanStamp::Context(ContextFailure::ClassUnknown(_)) => {
            Reason::Context(ContextFailure::ClassUnknown(0))
        }
        SpanStamp::Context(failure) => Reason::Context(failure),
        _ if surroundings.in_event_loop => Reason::EventLoop,
        SpanStamp::Active {
            span,
            local_root,
            trace,
        } => {
            let pid = sample.process.pid;
            return Attribution::Span(SpanContext {
                trace,
                local_root: Some(named(pid, local_root, spans, health)),
                active: named(pid, span, spans, health),
            });
        }
        SpanStamp::NotNested => Reason::NotNested,
        SpanStamp::Ended => Reason::Ended,
        SpanStamp::TooDeep => Reason::TooDeep,
    };
    health.count(loss(reason));
    Attribution::Unattributed(reason)
}

fn named(pid: Pid, id: SpanId, spans: &mut Spans, health: &Health) -> NamedSpan {
    let name = spans.name(pid, id);
    if name.is_none() {
        health.count(Loss::SpanUnnamed);
    }
    NamedSpan { id, name }
}

fn loss(reason: Reason) -> Loss {
    match reason {
        Reason::NotNested => Loss::SpanNotNested,
        Reason::Ended => Loss::SpanEnded,
        Reason::TooDeep => Loss::SpanTooDeep,
        Reason::EventLoop => Loss::SpanEventLoop,
        Reason::Unseen(Unseen::Pending) => Loss::ContextPending,
        Reason::Unseen(Unseen::Hidden) => Loss::ContextHidden,
        Reason::Context(ContextFailure::Unreadable) => Loss::ContextUnreadable,
        Reason::Context(ContextFailure::Unexpected) => Loss::ContextUnexpected,
        Reason::Context(ContextFailure::ClassUnknown(_)) => Loss::SpanClassUnknown,
        Reason::Context(ContextFailure::TooLarge) => Loss::ContextTooLarge,
        Reason::Context(ContextFailure::ThreadStateUnknown) => Loss::ThreadStateUnknown,
        Reason::Context(ContextFailure::InterpreterUnknown) => Loss::InterpreterUnknown,
    }
}

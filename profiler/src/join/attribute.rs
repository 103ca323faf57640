//! Which span a sample belongs to, or why none.

use super::{Attribution, NamedSpan, Reason, SpanContext, spans::Spans};
use crate::{
    events::{Sample, SpanStamp},
    health::{Health, Loss},
    id::{Pid, SpanId},
};

/// Resolves what the kernel program stamped the sample with.
pub(super) fn attribute(
    sample: &Sample,
    in_event_loop: bool,
    spans: &mut Spans,
    health: &Health,
) -> Attribution {
    let reason = match sample.span {
        SpanStamp::None => return Attribution::NoSpan,
        _ if in_event_loop => Reason::EventLoop,
        SpanStamp::Active {
            span,
            local_root,
            trace,
        } => {
            let pid = sample.process.pid;
            return Attribution::Span(SpanContext {
                trace,
                local_root: named(pid, local_root, spans, health),
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
    }
}

//! Invented samples, for tests of what becomes of samples.

use std::sync::Arc;

use profiler::{
    events::ThreadName,
    id::{Pid, Service, SpanId, Tid},
    join::{Attribution, NamedSpan, SpanContext},
    measure::Measure,
    symbolize::{Frame, FrameKind, MappedFile, NamedSample},
    time::BootNanos,
};

/// What each of them is worth.
pub const TICK: Measure = Measure::cpu(10_000_000);

/// A sample of service `shop`, namespace `prod`: of a function that `serve` calls, in a local root with an id and
/// a name, or for 0 in no span.
pub fn sample(function: &str, span: u64, name: &str) -> NamedSample {
    sample_of("shop", function, span, name)
}

/// The same of another service of that namespace.
pub fn sample_of(service: &str, function: &str, span: u64, name: &str) -> NamedSample {
    let span = SpanId::new(span).map(|id| NamedSpan {
        id,
        name: Some(name.into()),
    });
    NamedSample {
        time: BootNanos(0),
        measure: TICK,
        service: Arc::new(Service {
            name: service.to_owned(),
            namespace: "prod".to_owned(),
            ..Service::default()
        }),
        container: None,
        pid: Pid(1),
        tid: Tid(2),
        thread_name: ThreadName(*b"worker\0\0\0\0\0\0\0\0\0\0"),
        attribution: span.map_or(Attribution::NoSpan, |span| {
            Attribution::Span(SpanContext {
                trace: None,
                local_root: Some(span.clone()),
                active: span,
            })
        }),
        stack: Arc::from([frame(function), frame("serve")]),
    }
}

fn frame(function: &str) -> Arc<Frame> {
    Arc::new(Frame {
        kind: FrameKind::Python,
        is_named: true,
        name: function.into(),
        file: "/srv/app.py".into(),
        line: 3,
        start_line: 1,
        mapping: Arc::new(MappedFile {
            path: "/usr/bin/python3.12".to_owned(),
            build_id: String::new(),
        }),
    })
}

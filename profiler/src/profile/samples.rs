//! Samples for the tests of this module and of `export`.

use std::sync::Arc;

use prost::Message as _;

use crate::{
    events::ThreadName,
    health::Health,
    id::{Pid, Service, SpanId, Tid, TraceId},
    join::{Attribution, NamedSpan, SpanContext},
    measure::Measure,
    profile::{
        Aggregator, Key, NativeFrames, Profile, Projected, Projection, Settings, SpanLabel, Window,
        proto,
    },
    symbolize::{Frame, FrameKind, MappedFile, NamedSample},
    time::{BootNanos, SECOND, UnixNanos},
};

/// What a sample is worth.
pub(crate) const TICK: Measure = Measure::cpu(10_000_000);

/// A Python frame of `app.py`; one of the kernel (`k:`), of the interpreter's machinery (`i:`), of a library (`n:`) or
/// a marker (`m:`). A name with `+0x` counts as a place and not as a name.
pub(crate) fn frame(name: &str) -> Arc<Frame> {
    const PYTHON: &str = "/usr/bin/python3.12";
    let (prefix, rest) = name.split_at(name.len().min(2));
    let (kind, name, file, path) = match prefix {
        "k:" => (FrameKind::Kernel, rest, "", "[kernel]"),
        "i:" => (FrameKind::Interpreter, rest, "", PYTHON),
        "n:" => (FrameKind::Native, rest, "", "/usr/lib/libc.so.6"),
        "m:" => (FrameKind::Marker, rest, "", "[unknown]"),
        _ => (FrameKind::Python, name, "/srv/app.py", PYTHON),
    };
    Arc::new(Frame {
        kind,
        name: name.into(),
        is_named: !name.contains("+0x"),
        file: file.into(),
        line: 7,
        start_line: 5,
        mapping: Arc::new(MappedFile {
            path: path.to_owned(),
            build_id: "abcd".to_owned(),
        }),
    })
}

/// A frame of machine code in a file.
pub(crate) fn frame_of(path: &str) -> Arc<Frame> {
    Arc::new(Frame {
        mapping: Arc::new(MappedFile {
            path: path.to_owned(),
            build_id: String::new(),
        }),
        ..Frame::clone(&frame("n:work"))
    })
}

/// A span.
pub(crate) fn span(id: u64, name: &str) -> NamedSpan {
    NamedSpan {
        id: SpanId::new(id).unwrap(),
        name: (!name.is_empty()).then(|| name.into()),
    }
}

/// A sample of service `shop`, leaf first, in a span.
pub(crate) fn sample(stack: &[&str], attribution: Attribution) -> NamedSample {
    NamedSample {
        time: BootNanos(1),
        measure: TICK,
        service: Arc::new(Service {
            name: "shop".to_owned(),
            namespace: String::new(),
            ..Service::default()
        }),
        container: None,
        pid: Pid(10),
        tid: Tid(11),
        thread_name: ThreadName(*b"worker\0\0\0\0\0\0\0\0\0\0"),
        attribution,
        stack: stack.iter().map(|name| frame(name)).collect(),
    }
}

/// In span 2 (`child`) of local root 1 (`GET /`).
pub(crate) fn in_child() -> Attribution {
    Attribution::Span(SpanContext {
        trace: TraceId::from_halves(1, 2),
        local_root: Some(span(1, "GET /")),
        active: span(2, "child"),
    })
}

/// The samples summed over one window, budget `max_stacks`.
pub(crate) fn profiles(
    samples: &[NamedSample],
    max_stacks: usize,
    health: &Health,
) -> Vec<Profile> {
    let settings = Settings {
        tick: TICK,
        span_label: SpanLabel::LocalRoot,
        max_stacks,
    };
    let mut aggregator = Aggregator::new(settings, health.clone());
    for sample in samples {
        aggregator.add(sample);
    }
    aggregator.finish(Window {
        start: UnixNanos(SECOND),
        duration_nanos: 10_000_000_000,
    })
}

/// All frames, and the id and name of the local root.
pub(crate) fn roots() -> Projection {
    Projection {
        span_label: SpanLabel::LocalRoot,
        keys: [Key::SpanId, Key::SpanName].into(),
        native: NativeFrames::Full,
    }
}

/// Profiles under a projection.
pub(crate) fn projected(profiles: &[Profile], projection: &Projection) -> Vec<Projected> {
    let profiles = profiles.iter();
    profiles
        .flat_map(|profile| projection.of(profile))
        .collect()
}

/// What a destination takes of the samples of a window with room for `max_stacks` stacks.
pub(crate) fn taken(
    samples: &[NamedSample],
    projection: &Projection,
    max_stacks: usize,
    health: &Health,
) -> Vec<Projected> {
    projected(&profiles(samples, max_stacks, health), projection)
}

/// Everything that is known.
pub(crate) fn whole() -> Projection {
    Projection::whole(SpanLabel::LocalRoot)
}

/// The message of these bytes.
pub(crate) fn decode(bytes: &[u8]) -> proto::Profile {
    proto::Profile::decode(bytes).unwrap()
}

//! `go tool pprof` as an independent reader of spanprof's files.

use profiler::{
    export::FileSink,
    health::Health,
    profile::{Aggregator, NativeFrames, Settings, SpanLabel, Window},
    time::UnixNanos,
};
use tests::{
    made_up::{TICK, sample},
    peers::pprof,
    python::with_newest,
    spanprof::Recording,
};

/// What `-top` says a function used itself.
fn flat<'a>(top: &'a str, function: &str) -> Option<&'a str> {
    let line = top.lines().find(|line| line.ends_with(function))?;
    line.split_whitespace().next()
}

/// Go reads types, labels, mappings and lines as they are meant, and a tag focus keeps its span only.
#[test]
fn go_reads_our_file() {
    let settings = Settings {
        tick: TICK,
        span_label: SpanLabel::LocalRoot,
        max_stacks: 100,
    };
    let mut aggregator = Aggregator::new(settings, Health::default());
    for _ in 0..3 {
        aggregator.add(&sample("work_a", 1, "GET /a"));
    }
    aggregator.add(&sample("work_b", 2, "GET /b"));
    let profiles = aggregator.finish(Window {
        start: UnixNanos::now(),
        duration_nanos: 1_000_000_000,
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cpu.pb.gz");
    let sink = FileSink::new(&path, SpanLabel::LocalRoot, NativeFrames::Full).unwrap();
    sink.write(&profiles).unwrap();
    let Some(raw) = pprof(&["-raw"], &path) else {
        return;
    };
    assert!(raw.contains("PeriodType: cpu nanoseconds"), "{raw}");
    assert!(raw.contains("/usr/bin/python3.12"), "{raw}");
    assert!(raw.contains("work_a /srv/app.py:3"), "{raw}");
    let tags = pprof(&["-tags"], &path).unwrap();
    for text in ["span_name", "GET /a", "0000000000000001", "thread_name"] {
        assert!(tags.contains(text), "{tags}");
    }
    let top = pprof(&["-top", "-tagfocus=span_name=GET /a"], &path).unwrap();
    assert!(top.contains("work_a") && !top.contains("work_b"), "{top}");
    // The leaf comes first in a stack: its caller has used nothing itself.
    assert_eq!(flat(&top, "work_a"), Some("30ms"), "{top}");
    assert_eq!(flat(&top, "serve"), Some("0"), "{top}");
}

/// Milliseconds that `-top` accounts for; with `-unit=ms` its head says "… accounting for 1230ms, …".
fn accounted(top: &str) -> f64 {
    let number = top.split("accounting for ").nth(1).unwrap();
    number.split("ms").next().unwrap().parse().unwrap()
}

/// For a recorded program, Go shows the CPU time of a span that the program itself has measured.
#[test]
fn go_reads_what_was_recorded() {
    with_newest(|python| {
        let mut workload = python.start("nested.py", &["4"]);
        let pid = workload.pid();
        let recording = Recording::start(&["--frequency", "499", "--pid", &pid]);
        workload.begin();
        let facts = workload.facts("cpu");
        let recorded = recording.stop();
        let Some(raw) = pprof(&["-raw"], &recorded.path) else {
            return;
        };
        assert!(raw.contains("PeriodType: cpu nanoseconds"), "{raw}");
        assert!(raw.contains("burn"), "{raw}");
        let tags = pprof(&["-tags"], &recorded.path).unwrap();
        for text in ["span_name", "active_span_name", "second child", &pid] {
            assert!(tags.contains(text), "no {text}: {tags}");
        }
        for name in ["root", "grandchild"] {
            let focus = format!("-tagfocus=active_span_name=^{name}$");
            let top = pprof(&["-top", "-unit=ms", &focus], &recorded.path).unwrap();
            assert!(top.contains("burn"), "{top}");
            let measured = facts["cpu"][name].as_f64().unwrap() * 1000.0;
            let difference = (accounted(&top) - measured).abs() / measured;
            assert!(difference < 0.1, "{name}: measured {measured} ms: {top}");
        }
    });
}

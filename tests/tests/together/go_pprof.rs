//! `go tool pprof` as an independent reader of spanprof's files.

use profiler::{
    export::FileSink,
    health::Health,
    profile::{Aggregator, NativeFrames, Settings, SpanLabel, Window},
    time::UnixNanos,
};
use serde_json::Value;
use tests::{
    made_up::{TICK, sample},
    peers::pprof,
    python::with_newest,
    sampling::deviation,
    spanprof::Recording,
};

const FREQUENCY: f64 = 499.0;

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

/// For a recorded program, Go shows the CPU time of a span that is in the file, and of all of it the share that the
/// program itself has measured.
#[test]
fn go_reads_what_was_recorded() {
    with_newest(|python| {
        let mut workload = python.start("nested.py", &["4"]);
        let pid = workload.pid();
        let frequency = FREQUENCY.to_string();
        let recording = Recording::start(&["--frequency", &frequency, "--pid", &pid]);
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
        let measured = facts["cpu"].as_object().unwrap();
        let all: f64 = measured.values().filter_map(Value::as_f64).sum();
        let recorded_all = recorded.profile.seconds_of(|_| true);
        for name in ["root", "grandchild"] {
            let focus = format!("-tagfocus=active_span_name=^{name}$");
            // All functions, however little time they have.
            let arguments = ["-top", "-unit=ms", "-nodefraction=0", &focus];
            let top = pprof(&arguments, &recorded.path).unwrap();
            assert!(top.contains("burn"), "{top}");
            let shown = accounted(&top) / 1000.0;
            let of_span = recorded
                .profile
                .seconds_of(|row| row.label("active_span_name") == name);
            // Go rounds to hundredths of a millisecond.
            assert!(
                (shown - of_span).abs() < 0.001,
                "{name}: {of_span} s: {top}"
            );
            let expected = measured[name].as_f64().unwrap() / all;
            let difference = (shown / recorded_all - expected).abs();
            let allowed = deviation(expected, recorded_all * FREQUENCY) + 0.01;
            assert!(difference < allowed, "{name}: {expected} of all: {top}");
        }
    });
}

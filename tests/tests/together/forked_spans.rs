//! Processes that are forked inside a span.

use tests::{
    python::{Python, Workload, with_newest},
    spanprof::{Recorded, Recording},
};

/// CPU time in each span, in seconds.
const SECONDS: &str = "0.5";

fn record(python: &Python, way: &str, has_package: bool, arguments: &[&str]) -> Recorded {
    let mut command = python.program("forked_spans.py", &[SECONDS, way]);
    if !has_package {
        command.env("WITHOUT_PACKAGE", "1");
    }
    let mut workload = Workload::start(&mut command);
    let pid = workload.pid();
    let all = [&["--frequency", "999", "--pid", &pid], arguments].concat();
    let recording = Recording::start(&all);
    workload.begin();
    workload.facts("done");
    recording.stop()
}

/// Share of the samples with a function on their stack that have a label with this value.
fn share(recorded: &Recorded, function: &str, label: &str, value: &str) -> f64 {
    let rows = recorded.profile.rows_in(function);
    let nanoseconds = |is_meant: &dyn Fn(&str) -> bool| -> i64 {
        let meant = rows.iter().filter(|row| is_meant(row.label(label)));
        meant.map(|row| row.nanoseconds).sum()
    };
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let share = nanoseconds(&|it| it == value) as f64 / nanoseconds(&|_| true) as f64;
    eprintln!("{function}: {share:.3} have {label} {value:?}");
    share
}

/// A child goes on in the span that was current at the fork. What it begins below is a local root, whoever has forked it,
/// with the package and without.
fn spans_of(way: &str) {
    with_newest(|python| {
        for has_package in [true, false] {
            let recorded = record(python, way, has_package, &["--span-label", "local-root"]);
            for (function, root, active) in [
                ("burn_inherited", "request", "request"),
                ("burn_task", "task", "task"),
                ("burn_step", "task", "step"),
            ] {
                for (label, value) in [("span_name", root), ("active_span_name", active)] {
                    let share = share(&recorded, function, label, value);
                    assert!(share > 0.85, "{way}, package: {has_package}: {recorded:#?}");
                }
            }
        }
    });
}

#[test]
fn forked_by_the_system() {
    spans_of("fork");
}

#[test]
fn forked_by_multiprocessing() {
    spans_of("multiprocessing");
}

#[test]
fn forked_by_pools() {
    spans_of("pool");
}

#[test]
fn forked_by_gunicorn() {
    spans_of("gunicorn");
}

/// A child's copy of a span never ends. Where the hook tells of the end in the parent, the child is in no span after it;
/// else it stays in the one that its context says.
#[test]
fn spans_that_end_in_the_parent() {
    with_newest(|python| {
        let probed = ["--span-probes", "always"];
        for (arguments, after) in [(&probed[..], ""), (&[], "request")] {
            let recorded = record(python, "detached", true, arguments);
            assert!(share(&recorded, "burn_inherited", "span_name", "request") > 0.85);
            let after = share(&recorded, "burn_detached", "span_name", after);
            assert!(after > 0.85, "{recorded:#?}");
        }
    });
}

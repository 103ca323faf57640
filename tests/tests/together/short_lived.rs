//! Processes that are forked and live for a short time.

use tests::{
    on_every_python,
    python::{Python, with_newest},
    sampling::at_least,
    spanprof::{Recorded, Recording},
};

on_every_python!(spans_are_learnt_once);

const FREQUENCY: f64 = 999.0;
/// The least share of the samples of such processes that is in the profile.
const LEAST_KEPT: f64 = 0.98;

/// Records children of some milliseconds each, so many a second.
fn record(python: &Python, rate: &str, milliseconds: &str, how: &[&str]) -> (Recorded, f64) {
    let arguments = [&["4", rate, milliseconds], how].concat();
    let mut workload = python.start("short_lived.py", &arguments);
    let frequency = FREQUENCY.to_string();
    let recording = Recording::start(&["--frequency", &frequency, "--pid", &workload.pid()]);
    workload.begin();
    let cpu = workload.facts("cpu")["cpu"].as_f64().unwrap();
    (recording.stop(), cpu)
}

/// The samples of children are in the profile, by the name of what they ran: as many as were taken, and as many as the
/// CPU time that they have used.
fn assert_kept(python: &Python, rate: &str, milliseconds: &str) {
    let (recorded, cpu) = record(python, rate, milliseconds, &[]);
    let [taken, lost] = ["samples_taken", "samples_lost"].map(|name| recorded.count(name));
    let kept = recorded.profile.samples_in("burn_in_child");
    let least = at_least(cpu, FREQUENCY, recorded.stolen);
    eprintln!(
        "{cpu:.2} s of children: {kept} samples of at least {least:.0}; {lost} of {taken} lost"
    );
    #[expect(clippy::cast_precision_loss, reason = "some thousand samples")]
    let (taken, lost, kept) = (taken as f64, lost as f64, kept as f64);
    assert!(lost <= (1.0 - LEAST_KEPT) * taken, "{recorded:#?}");
    assert!(kept >= LEAST_KEPT * least, "{recorded:#?}");
}

/// A child of a target is a target from its first instruction, however soon it exits.
#[test]
fn children_of_twenty_milliseconds() {
    with_newest(|python| assert_kept(python, "30", "20"));
}

/// So are those that live for less than a turn of any thread of the agent, and come one after the other.
#[test]
fn children_of_three_milliseconds() {
    with_newest(|python| assert_kept(python, "200", "3"));
}

/// Where the spans of a class keep what, only its first span shows, and each child makes that anew. Once one of them
/// lives long enough for a look, all know it.
fn spans_are_learnt_once(python: &Python) {
    for (rate, milliseconds, least) in [("8", "50", 0.85), ("40", "5", 0.6)] {
        let (recorded, _) = record(python, rate, milliseconds, &["spans"]);
        let rows = recorded.profile.rows_in("burn_in_child");
        let in_spans = rows.iter().filter(|row| row.label("span_name") == "task");
        let in_spans: i64 = in_spans.map(|row| row.nanoseconds).sum();
        let all: i64 = rows.iter().map(|row| row.nanoseconds).sum();
        #[expect(clippy::cast_precision_loss, reason = "seconds")]
        let share = in_spans as f64 / all as f64;
        eprintln!("{milliseconds} ms: {share:.3} in spans");
        assert!(share > least, "{recorded:#?}");
    }
}

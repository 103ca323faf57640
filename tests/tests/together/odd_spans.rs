//! Unusual spans: no label is wrong, and samples whose span cannot be known are counted.

use std::process::Command;

use serde_json::Value;
use tests::{
    on_every_python,
    profile::{Profile, Row},
    python::{Python, Workload, with_newest},
    spanprof::{Recorded, Recording},
};

on_every_python!(
    event_loop,
    event_loop_with_its_own_context,
    replaced_program
);

/// A second of CPU then has some 200 samples.
const FREQUENCY: &str = "199";

/// Records a case of `odd_spans.py` until it says `key`.
fn record(python: &Python, arguments: &[&str], key: &str) -> (Recorded, Value) {
    run(&mut python.program("odd_spans.py", arguments), key)
}

/// The same in an application with a runtime context of its own: its spans are known by the hook's
/// probes alone.
fn record_own_context(python: &Python, arguments: &[&str], key: &str) -> (Recorded, Value) {
    let mut command = python.program("odd_spans.py", arguments);
    run(command.env("OWN_CONTEXT", "1"), key)
}

fn run(command: &mut Command, key: &str) -> (Recorded, Value) {
    run_with(command, key, &[])
}

fn run_with(command: &mut Command, key: &str, flags: &[&str]) -> (Recorded, Value) {
    let mut workload = Workload::start(command);
    let pid = workload.pid();
    let mut arguments = vec!["--frequency", FREQUENCY, "--pid", &pid];
    arguments.extend(flags);
    let recording = Recording::start(&arguments);
    workload.begin();
    let facts = workload.facts(key);
    (recording.stop(), facts)
}

fn is_unlabelled(row: &Row) -> bool {
    [
        "span_id",
        "span_name",
        "trace_id",
        "active_span_id",
        "active_span_name",
    ]
    .iter()
    .all(|label| row.label(label).is_empty())
}

/// All samples in a function have no span; there are enough to say so.
fn assert_unlabelled(profile: &Profile, function: &str) {
    for row in profile.rows_in(function) {
        assert!(is_unlabelled(row), "{row:#?}");
    }
    assert!(profile.samples_in(function) > 50, "{:#?}", profile.totals());
}

/// Samples in a function carry this label and never another, but for the first few of a process,
/// whose class of spans is still to be looked up.
fn assert_labelled(profile: &Profile, function: &str, label: &str, value: &str) {
    let rows = profile.rows_in(function);
    for row in &rows {
        assert!(is_unlabelled(row) || row.label(label) == value, "{row:#?}");
    }
    let right = rows.iter().filter(|row| row.label(label) == value);
    let right: i64 = right.map(|row| row.nanoseconds / profile.period).sum();
    let all = profile.samples_in(function);
    assert!(all > 50, "{:#?}", profile.totals());
    assert!(
        right * 100 >= all * 80,
        "{label} is {value} in {right} of {all}: {rows:#?}"
    );
}

/// A span ended on another thread leaves no label behind, samples in its dead entry are counted,
/// and the next span is told from it.
#[test]
fn ended_on_another_thread() {
    with_newest(|python| {
        // The hook's probes see which thread ends a span.
        let mut command = python.program("odd_spans.py", &["ended_elsewhere"]);
        let flags = ["--span-probes", "always"];
        let (recorded, facts) = run_with(&mut command, "travels", &flags);
        let profile = &recorded.profile;
        let id = |key: &str| facts[key].as_str().unwrap().to_owned();
        assert_labelled(profile, "while_open", "span_id", &id("travels"));
        assert_unlabelled(profile, "after_end");
        assert_labelled(profile, "in_next", "span_id", &id("next"));
        assert_eq!(recorded.count_of("span_ends_unmatched", "other_thread"), 1);
        let counted = recorded.count_of("samples_unattributed", "span_ended");
        assert!(counted >= profile.samples_in("after_end"), "{recorded:#?}");
    });
}

/// Forty spans open in one another are told apart.
#[test]
fn forty_nested() {
    with_newest(|python| {
        let (recorded, facts) = record(python, &["deep", "40"], "innermost");
        let profile = &recorded.profile;
        let id = |key: &str| facts[key].as_str().unwrap().to_owned();
        assert_labelled(profile, "at_the_bottom", "span_id", &id("root"));
        assert_labelled(profile, "at_the_bottom", "active_span_id", &id("innermost"));
        assert_labelled(profile, "at_the_bottom", "active_span_name", "level 39");
        assert_labelled(profile, "at_the_root", "active_span_id", &id("root"));
        assert_labelled(profile, "at_the_root", "span_name", "level 0");
    });
}

/// More spans than are kept for a thread, and no context to read: samples in those beyond stay
/// unattributed and are counted, and the root is right again afterwards.
#[test]
fn too_many_nested() {
    with_newest(|python| {
        let (recorded, facts) = record_own_context(python, &["deep", "80"], "innermost");
        let profile = &recorded.profile;
        assert_unlabelled(profile, "at_the_bottom");
        let counted = recorded.count_of("samples_unattributed", "too_many_open_spans");
        assert!(
            counted >= profile.samples_in("at_the_bottom"),
            "{recorded:#?}"
        );
        let root = facts["root"].as_str().unwrap();
        assert_labelled(profile, "at_the_root", "active_span_id", root);
    });
}

/// A name of 10 kB is cut at the end of a character, marked as cut, and counted.
#[test]
fn name_of_ten_kilobytes() {
    with_newest(|python| {
        let (recorded, facts) = record(python, &["long_name"], "span");
        let span = facts["span"].as_str().unwrap();
        assert_labelled(&recorded.profile, "in_long_name", "span_id", span);
        let rows = recorded.profile.rows_in("in_long_name");
        let labelled = rows.iter().find(|row| !is_unlabelled(row)).unwrap();
        let name = labelled.label("span_name");
        let kept = name.strip_suffix('…').unwrap_or_else(|| panic!("{name}"));
        assert!(kept.len() > 100, "{name}");
        assert_eq!(kept.trim_start_matches('n').trim_start_matches('ä'), "");
        assert_eq!(recorded.count_of("span_names_incomplete", "too_long"), 1);
    });
}

/// A name in other scripts arrives as it is.
#[test]
fn name_that_is_not_ascii() {
    with_newest(|python| {
        let (recorded, facts) = record(python, &["not_ascii"], "span");
        let name = facts["name"].as_str().unwrap();
        assert!(!name.is_ascii());
        assert_labelled(&recorded.profile, "in_not_ascii", "span_name", name);
    });
}

/// Spans that were started and never made current have no samples.
#[test]
fn never_current() {
    with_newest(|python| {
        let (recorded, _) = record(python, &["interleaved"], "first");
        for function in ["both_open", "one_open", "none_open"] {
            assert_unlabelled(&recorded.profile, function);
        }
    });
}

/// Without a context to read, samples are unattributed and counted while two spans are open beside each
/// other, and while the one that was started later outlives the other.
#[test]
fn interleaved_siblings() {
    with_newest(|python| {
        let (recorded, _) = record_own_context(python, &["interleaved"], "first");
        let profile = &recorded.profile;
        assert_unlabelled(profile, "both_open");
        let counted = recorded.count_of("samples_unattributed", "spans_not_nested");
        let not_nested = profile.samples_in("both_open") + profile.samples_in("one_open");
        assert!(counted >= not_nested, "{recorded:#?}");
        assert_unlabelled(profile, "one_open");
        assert_unlabelled(profile, "none_open");
    });
}

/// Two requests that take turns in an event loop: each has its own samples.
fn event_loop(python: &Python) {
    let (recorded, _) = record(python, &["concurrent"], "done");
    assert_labelled(&recorded.profile, "in_alpha", "span_name", "alpha");
    assert_labelled(&recorded.profile, "in_beta", "span_name", "beta");
}

/// The same without a context to read: none of their samples has a wrong label, all that have none
/// are counted.
fn event_loop_with_its_own_context(python: &Python) {
    let (recorded, _) = record_own_context(python, &["concurrent"], "done");
    let profile = &recorded.profile;
    let mut unlabelled = 0;
    for (function, name) in [("in_alpha", "alpha"), ("in_beta", "beta")] {
        assert!(profile.samples_in(function) > 50, "{:#?}", profile.totals());
        for row in profile.rows_in(function) {
            if is_unlabelled(row) {
                unlabelled += row.nanoseconds / profile.period;
            } else {
                assert_eq!(row.label("span_name"), name, "{row:#?}");
            }
        }
    }
    let counted: i64 = ["event_loop", "spans_not_nested"]
        .map(|reason| recorded.count_of("samples_unattributed", reason))
        .iter()
        .sum();
    assert!(
        counted >= unlabelled,
        "{unlabelled} unlabelled: {recorded:#?}"
    );
}

/// A forked child goes on in its parent's span, as `trace.get_current_span()` says in it.
#[test]
fn fork_in_a_span() {
    with_newest(|python| {
        let (recorded, facts) = record(python, &["fork"], "child");
        let profile = &recorded.profile;
        let child = facts["child"].to_string();
        let span = facts["span"].as_str().unwrap();
        for function in ["in_parent", "in_child"] {
            assert_labelled(profile, function, "span_name", "forks");
            assert_labelled(profile, function, "span_id", span);
        }
        assert_labelled(profile, "in_child", "pid", &child);
    });
}

/// Without a context to read, a forked child starts without spans: no start was reported in it.
#[test]
fn fork_with_its_own_context() {
    with_newest(|python| {
        let (recorded, _) = record_own_context(python, &["fork"], "child");
        assert_labelled(&recorded.profile, "in_parent", "span_name", "forks");
        assert_unlabelled(&recorded.profile, "in_child");
    });
}

/// A program that replaces itself within a span has no span afterwards.
fn replaced_program(python: &Python) {
    let (recorded, _) = record(python, &["execute"], "done");
    let profile = &recorded.profile;
    assert_labelled(profile, "before_exec", "span_name", "executes");
    assert_unlabelled(profile, "after_exec");
}

/// When the process exits in a span, the recording ends early, says so, and writes what it has.
#[test]
fn exit_in_a_span() {
    with_newest(|python| {
        let mut workload = python.start("odd_spans.py", &["exits"]);
        let recording = Recording::start(&["--frequency", FREQUENCY, "--pid", &workload.pid()]);
        workload.begin();
        let facts = workload.facts("span");
        let recorded = recording.end();
        let stderr = &recorded.ended.stderr;
        assert!(
            stderr.contains("has exited: the recording ends early"),
            "{stderr}"
        );
        let span = facts["span"].as_str().unwrap();
        assert_labelled(&recorded.profile, "before_exit", "span_id", span);
    });
}

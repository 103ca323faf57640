//! Spans that are not as they should be: no wrong label, and what cannot be told is counted.

use serde_json::Value;
use tests::{
    on_every_python,
    profile::{Profile, Row},
    python::{Python, with_newest},
    spanprof::{Recorded, Recording},
};

on_every_python!(event_loop, replaced_program);

/// A second of CPU then has some 200 samples.
const FREQUENCY: &str = "199";

/// Records a case of `odd_spans.py` until it says `key`.
fn record(python: &Python, arguments: &[&str], key: &str) -> (Recorded, Value) {
    let mut workload = python.start("odd_spans.py", arguments);
    let recording = Recording::start(&["--frequency", FREQUENCY, "--pid", &workload.pid()]);
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

/// All samples in a function carry this span, but for those of the moment when it started or ended.
fn assert_labelled(profile: &Profile, function: &str, label: &str, value: &str) {
    let rows = profile.rows_in(function);
    let right = rows.iter().filter(|row| row.label(label) == value);
    let right: i64 = right.map(|row| row.nanoseconds / profile.period).sum();
    let all = profile.samples_in(function);
    assert!(all > 50, "{:#?}", profile.totals());
    assert_eq!(right, all, "{label} is not {value} everywhere: {rows:#?}");
}

/// A span ended on another thread leaves no label behind, samples in its dead entry are counted,
/// and the next span is told from it.
#[test]
fn ended_on_another_thread() {
    with_newest(|python| {
        let (recorded, facts) = record(python, &["ended_elsewhere"], "travels");
        let profile = &recorded.profile;
        let id = |key: &str| facts[key].as_str().unwrap().to_owned();
        assert_labelled(profile, "while_open", "span_id", &id("travels"));
        assert_unlabelled(profile, "after_end");
        assert_labelled(profile, "in_next", "span_id", &id("next"));
        assert_eq!(recorded.count("spans_ended_elsewhere"), 1);
        let counted = recorded.count("samples_span_ended");
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

/// More spans than are kept for a thread: samples in those beyond stay unattributed and are counted,
/// and the root is right again afterwards.
#[test]
fn too_many_nested() {
    with_newest(|python| {
        let (recorded, facts) = record(python, &["deep", "80"], "innermost");
        let profile = &recorded.profile;
        assert_unlabelled(profile, "at_the_bottom");
        let counted = recorded.count("samples_span_too_deep");
        assert!(
            counted >= profile.samples_in("at_the_bottom"),
            "{recorded:#?}"
        );
        let root = facts["root"].as_str().unwrap();
        assert_labelled(profile, "at_the_root", "active_span_id", root);
    });
}

/// A name of 10 kB is cut where a character ends, marked as cut, and counted.
#[test]
fn name_of_ten_kilobytes() {
    with_newest(|python| {
        let (recorded, facts) = record(python, &["long_name"], "span");
        let span = facts["span"].as_str().unwrap();
        assert_labelled(&recorded.profile, "in_long_name", "span_id", span);
        let rows = recorded.profile.rows_in("in_long_name");
        let name = rows[0].label("span_name");
        let kept = name.strip_suffix('…').unwrap_or_else(|| panic!("{name}"));
        assert!(kept.len() > 100, "{name}");
        assert_eq!(kept.trim_start_matches('n').trim_start_matches('ä'), "");
        assert_eq!(recorded.count("span_names_cut"), 1);
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

/// While two spans are open beside each other samples are unattributed and counted; what is not in
/// doubt is labelled.
#[test]
fn interleaved_siblings() {
    with_newest(|python| {
        let (recorded, facts) = record(python, &["interleaved"], "first");
        let profile = &recorded.profile;
        assert_unlabelled(profile, "both_open");
        let counted = recorded.count("samples_span_not_nested");
        assert!(counted >= profile.samples_in("both_open"), "{recorded:#?}");
        let second = facts["second"].as_str().unwrap();
        assert_labelled(profile, "one_open", "span_id", second);
        assert_unlabelled(profile, "none_open");
    });
}

/// Two requests that take turns in an event loop: none of their samples has a wrong label, all that
/// have none are counted.
fn event_loop(python: &Python) {
    let (recorded, _) = record(python, &["concurrent"], "done");
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
    let counted: i64 = ["samples_event_loop", "samples_span_not_nested"]
        .map(|name| recorded.count(name))
        .iter()
        .sum();
    assert!(
        counted >= unlabelled,
        "{unlabelled} unlabelled: {recorded:#?}"
    );
}

/// A forked child starts without spans, whatever its parent has open.
#[test]
fn fork_in_a_span() {
    with_newest(|python| {
        let (recorded, facts) = record(python, &["fork"], "child");
        let profile = &recorded.profile;
        let child = facts["child"].to_string();
        assert_labelled(profile, "in_parent", "span_name", "forks");
        assert_labelled(
            profile,
            "in_parent",
            "span_id",
            facts["span"].as_str().unwrap(),
        );
        assert_unlabelled(profile, "child_without_span");
        assert_labelled(profile, "child_without_span", "pid", &child);
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

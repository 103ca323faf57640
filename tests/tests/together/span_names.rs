//! Names of spans that are no plain strings: their text, or no name and the true reason.

use tests::{
    profile::Row,
    python::{Python, Workload, with_newest},
    spanprof::{Recorded, Recording},
};

const FREQUENCY: &str = "499";
const TEXTS: [(&str, &str); 5] = [
    ("in_enumeration", "checkout"),
    ("in_subclass", "safe name"),
    ("in_wide_subclass", "größer 🐍"),
    ("in_surrogate", "/caf\u{fffd}"),
    ("in_empty", "(empty)"),
];
/// Functions whose spans have no text as their name.
const NO_TEXTS: [&str; 5] = ["in_number", "in_none", "in_bytes", "in_tuple", "in_no_text"];

/// With the package and without, whether the agent reads the spans or the package's probes report them.
#[test]
fn whoever_tells_them() {
    with_newest(|python| {
        for (without_package, probes) in [(true, "auto"), (false, "auto"), (false, "always")] {
            let case = format!("without package: {without_package}, probes: {probes}");
            let recorded = record(python, without_package, probes);
            for (function, name) in TEXTS {
                are_named(&recorded, function, name, &case);
            }
            for function in NO_TEXTS {
                are_unnamed(&recorded, function, &case);
            }
            let not_text = recorded.count_of("span_names_incomplete", "not_text");
            assert!(not_text > 20, "{case}: {recorded:#?}");
            let others = ["unreadable", "too_long"];
            let others = others.map(|reason| recorded.count_of("span_names_incomplete", reason));
            assert_eq!(others, [0, 0], "{case}: {recorded:#?}");
        }
    });
}

fn record(python: &Python, without_package: bool, probes: &str) -> Recorded {
    let mut command = python.program("span_names.py", &[]);
    if without_package {
        command.env("WITHOUT_PACKAGE", "1");
    }
    let mut workload = Workload::start(&mut command);
    let pid = workload.pid();
    let flags = [
        "--frequency",
        FREQUENCY,
        "--pid",
        &pid,
        "--span-probes",
        probes,
    ];
    let recording = Recording::start(&flags);
    workload.begin();
    workload.facts("done");
    recording.stop()
}

fn samples<'a>(recorded: &Recorded, rows: impl Iterator<Item = &'a &'a Row>) -> i64 {
    rows.map(|row| row.nanoseconds / recorded.profile.period)
        .sum()
}

/// All but the first few samples of a function carry this name, and never another one.
fn are_named(recorded: &Recorded, function: &str, name: &str, case: &str) {
    let rows = recorded.profile.rows_in(function);
    for row in &rows {
        assert!(
            ["", name].contains(&row.label("span_name")),
            "{case}: {row:#?}"
        );
    }
    let named = rows.iter().filter(|row| row.label("span_name") == name);
    let (named, all) = (samples(recorded, named), samples(recorded, rows.iter()));
    assert!(
        all > 50 && named * 100 > all * 80,
        "{case}: {named} of {all} in {function}: {rows:#?}"
    );
}

/// The samples of a function are in spans without a name.
fn are_unnamed(recorded: &Recorded, function: &str, case: &str) {
    let rows = recorded.profile.rows_in(function);
    for row in &rows {
        assert_eq!(row.label("span_name"), "", "{case}: {row:#?}");
    }
    let in_spans = rows.iter().filter(|row| !row.label("span_id").is_empty());
    let (in_spans, all) = (samples(recorded, in_spans), samples(recorded, rows.iter()));
    assert!(
        all > 50 && in_spans * 100 > all * 80,
        "{case}: {in_spans} of {all} in {function}: {rows:#?}"
    );
}

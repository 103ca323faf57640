//! Wrappers that are current instead of the spans inside: samples are in the span inside, or in none that is known.

use std::process::Command;

use tests::{
    profile::Row,
    python::{Workload, logfires, with_newest},
    spanprof::{self, Recorded, Recording},
};

const FREQUENCY: &str = "499";

/// A wrapper of the application's own is followed once, if it has one span inside.
#[test]
fn of_the_application() {
    with_newest(|python| {
        for without_package in [true, false] {
            let mut command = python.program("wrapped.py", &[]);
            let recorded = record(&mut command, without_package);
            for (function, name) in [
                ("in_wrapper", "wrapped"),
                ("in_plain", "plain"),
                ("in_inner", "inner"),
                ("in_dropped", "(not recorded)"),
            ] {
                are_named(&recorded, function, name, 80);
            }
            for function in ["in_twice", "in_two"] {
                are_named(&recorded, function, "", 100);
            }
            // The first samples are of a class that is new.
            for (function, reason) in [
                ("in_twice", "context_unexpected"),
                ("in_two", "span_class_unreadable"),
            ] {
                let samples = recorded.profile.samples_in(function);
                let counted = recorded.count_of("samples_unattributed", reason);
                let most = counted * 10 > samples * 7;
                assert!(most, "{function}: {counted} of {samples}: {recorded:#?}");
            }
        }
    });
}

/// Logfire's spans, of several releases.
#[test]
fn of_logfire() {
    for python in logfires() {
        for without_package in [true, false] {
            let mut command = python.program("wrapped_by_logfire.py", &[]);
            let recorded = record(&mut command, without_package);
            eprintln!("logfire {}", python.version);
            // The first samples are without a name, as long as the class is not known: some 50 ms of 5 s.
            are_named(&recorded, "burn_a", "checkout A", 98);
            are_named(&recorded, "burn_b", "decorated B", 99);
            are_named(&recorded, "burn_none", "", 100);
        }
    }
}

/// `doctor` names the class of spans that it cannot read.
#[test]
fn doctor_names_the_class() {
    with_newest(|python| {
        let mut command = python.program("wrapped.py", &["two"]);
        let mut workload = Workload::start(command.env("WITHOUT_PACKAGE", "1"));
        workload.begin();
        let pid = workload.pid();
        let ended = spanprof::run(&["doctor", "--sample", "2s", "-F", FREQUENCY, "--pid", &pid]);
        let text = &ended.stdout;
        let says = "spans of the class __main__.Two cannot be read";
        assert!(text.contains(says), "{ended:#?}");
    });
}

fn record(command: &mut Command, without_package: bool) -> Recorded {
    if without_package {
        command.env("WITHOUT_PACKAGE", "1");
    }
    let mut workload = Workload::start(command);
    let flags = ["--frequency", FREQUENCY, "--pid", &workload.pid()];
    let flags = [&flags[..], &["--span-label", "active"]].concat();
    let recording = Recording::start(&flags);
    workload.begin();
    workload.facts("done");
    recording.stop()
}

/// This share of the samples of a function carries this name, and none another one.
fn are_named(recorded: &Recorded, function: &str, name: &str, percent: i64) {
    let rows = recorded.profile.rows_in(function);
    for row in &rows {
        assert!(["", name].contains(&row.label("span_name")), "{row:#?}");
    }
    let samples = |row: &&Row| row.nanoseconds / recorded.profile.period;
    let named = rows.iter().filter(|row| row.label("span_name") == name);
    let named: i64 = named.map(samples).sum();
    let all = recorded.profile.samples_in(function);
    eprintln!("{function}: {named} of {all} are in {name:?}");
    assert!(
        all > 100 && named * 100 >= all * percent,
        "{named} of {all} in {function}: {rows:#?}"
    );
}

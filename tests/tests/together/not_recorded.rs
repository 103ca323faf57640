//! Spans that are current and that no trace has: sampled out, of another process, or made without an SDK.

use std::process::Command;

use tests::{
    profile::Row,
    python::{Python, Workload, with_newest},
    spanprof::{self, Recorded, Recording},
};

const FREQUENCY: &str = "499";
/// What their samples carry in the place of a name.
const LABEL: &str = "(not recorded)";

/// Each kind is told apart from spans that are recorded, with the package and without.
#[test]
fn each_kind() {
    with_newest(|python| {
        for without_package in [false, true] {
            let recorded = record(&mut program(python, without_package));
            for function in ["in_dropped", "in_remote_parent", "in_no_sdk"] {
                are_not_recorded(&recorded, function);
            }
            for (function, name) in [
                ("in_child_of_dropped", "child of dropped"),
                ("in_consumer", "consumer"),
                // Processors see it, and may send it.
                ("in_record_only", "record only"),
            ] {
                are_named(&recorded, function, name);
            }
            for row in recorded.profile.rows_in("in_none") {
                assert_eq!(row.label("span_name"), "", "{row:#?}");
            }
            let counted = recorded.count_of("samples_unattributed", "span_not_recorded");
            let in_all: i64 = ["in_dropped", "in_remote_parent", "in_no_sdk"]
                .map(|function| recorded.profile.samples_in(function))
                .iter()
                .sum();
            assert!(counted >= in_all, "{counted} of {in_all}");
            // No name is missing.
            let unnamed = recorded.count_of("samples_incomplete", "span_name_unknown");
            assert_eq!(unnamed, 0, "{recorded:#?}");
            let table = &recorded.ended.stdout;
            assert!(table.contains("\n(not recorded) "), "{table}");
            assert!(!table.contains("(span without a known name)"), "{table}");
        }
    });
}

/// Their ids are labels only if they are asked for; the name stays, and those without ids have none.
#[test]
fn ids_on_request() {
    with_newest(|python| {
        let mut workload = Workload::start(&mut program(python, true));
        let pid = workload.pid();
        let flags = [
            "--frequency",
            FREQUENCY,
            "--not-recorded-ids",
            "--pid",
            &pid,
        ];
        let recording = Recording::start(&flags);
        workload.begin();
        workload.facts("done");
        let recorded = recording.stop();
        are_named(&recorded, "in_dropped", LABEL);
        are_named(&recorded, "in_remote_parent", LABEL);
        are_not_recorded(&recorded, "in_no_sdk");
        for row in recorded.profile.rows_in("in_remote_parent") {
            assert!(
                ["", "1234567890abcdef"].contains(&row.label("span_id")),
                "{row:#?}"
            );
        }
        let rows = recorded.profile.rows_in("in_dropped");
        let with_ids = rows.iter().filter(|row| row.label("trace_id").len() == 32);
        assert!(with_ids.count() > 10, "{rows:#?}");
        assert!(
            recorded.ended.stdout.contains("\n(not recorded) "),
            "{recorded:#?}"
        );
    });
}

/// A service that drops every trace: a share of its own says so, beside that in spans.
#[test]
fn share_of_its_own() {
    with_newest(|python| {
        let mut command = program(python, true);
        let mut workload = Workload::start(command.arg("dropped"));
        workload.begin();
        let pid = workload.pid();
        let ended = spanprof::run(&["record", "--duration", "2s", "-F", FREQUENCY, "--pid", &pid]);
        assert!(ended.status.success(), "{ended:#?}");
        let table = &ended.stdout;
        assert!(table.contains("NOT RECORDED"), "{table}");
        let line = table.lines().find(|it| it.trim_start().starts_with(&pid));
        let shares: Vec<f64> = line
            .unwrap_or_else(|| panic!("{table}"))
            .split_whitespace()
            .filter(|word| word.contains('.'))
            .filter_map(|word| word.parse().ok())
            .collect();
        // In spans, not recorded, in no span.
        assert!(shares[0] < 1.0 && shares[1] > 90.0, "{table}");
        // Below a share that is asked for, it says what the rest is.
        let arguments = [
            "record",
            "--duration",
            "1s",
            "--min-coverage",
            "50",
            "--pid",
            &pid,
        ];
        let ended = spanprof::run(&arguments);
        assert!(!ended.status.success(), "{ended:#?}");
        assert!(
            ended.stderr.contains("in spans that are not recorded"),
            "{ended:#?}"
        );
    });
}

fn program(python: &Python, without_package: bool) -> Command {
    let mut command = python.program("not_recorded.py", &[]);
    if without_package {
        command.env("WITHOUT_PACKAGE", "1");
    }
    command
}

fn record(command: &mut Command) -> Recorded {
    let mut workload = Workload::start(command);
    let recording = Recording::start(&["--frequency", FREQUENCY, "--pid", &workload.pid()]);
    workload.begin();
    workload.facts("done");
    recording.stop()
}

const IDS: [&str; 4] = ["span_id", "trace_id", "active_span_id", "active_span_name"];

/// All but the first few samples of a function carry this name, and never another one.
fn are_named(recorded: &Recorded, function: &str, name: &str) {
    let rows = recorded.profile.rows_in(function);
    let samples = |row: &&Row| row.nanoseconds / recorded.profile.period;
    for row in &rows {
        assert!(["", name].contains(&row.label("span_name")), "{row:#?}");
    }
    let named: i64 = rows
        .iter()
        .filter(|row| row.label("span_name") == name)
        .map(samples)
        .sum();
    let all = recorded.profile.samples_in(function);
    assert!(
        all > 100 && named * 100 > all * 80,
        "{named} of {all} in {function}: {rows:#?}"
    );
}

fn are_not_recorded(recorded: &Recorded, function: &str) {
    are_named(recorded, function, LABEL);
    for row in recorded.profile.rows_in(function) {
        assert!(IDS.iter().all(|id| row.label(id).is_empty()), "{row:#?}");
    }
}

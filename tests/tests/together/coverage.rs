//! The share of the samples that are in spans, as `record` and `doctor` print it.

use serde_json::Value;
use tests::{
    compile::compile,
    process::Signal,
    python::{Workload, with_newest},
    sampling::{at_least, deviation},
    spanprof,
};

const FREQUENCY: &str = "997";

/// Records the nested spans, some of whose CPU is in no span; whether it succeeds, what it says, and what the workload
/// has measured.
fn record(workload: &mut Workload, minimum: &str) -> (bool, String, String, Value) {
    let arguments = ["--log", "info", "record", "--duration", "10m"];
    let mut command = spanprof::command(&arguments);
    command.args(["--frequency", FREQUENCY]);
    command.args(["--pid", &workload.pid(), "--min-coverage", minimum]);
    let running = tests::process::Running::start(&mut command);
    running.stderr.wait_for("recording");
    workload.begin();
    let facts = workload.facts("cpu");
    running.signal(Signal::INT);
    let ended = running.wait();
    let succeeds = ended.status.success();
    (succeeds, ended.stdout, ended.stderr, facts)
}

/// A table says for each process what share is in spans, and `--min-coverage` fails below one.
#[test]
fn of_a_recording() {
    with_newest(|python| {
        let start = || {
            let mut command = python.program("nested.py", &["1.0"]);
            Workload::start(command.env("WITHOUT_PACKAGE", "1"))
        };
        let mut workload = start();
        let (succeeds, stdout, stderr, facts) = record(&mut workload, "50");
        assert!(succeeds, "{stderr}");
        let line = stdout
            .lines()
            .find(|line| line.trim_start().starts_with(&workload.pid()))
            .unwrap_or_else(|| panic!("{stdout}"));
        let share: f64 = line
            .split_whitespace()
            .find_map(|word| word.parse().ok().filter(|_| word.contains('.')))
            .unwrap_or_else(|| panic!("{line}"));
        let measured = facts["cpu"].as_object().unwrap();
        let all: f64 = measured.values().filter_map(Value::as_f64).sum();
        let expected = 1.0 - measured["none"].as_f64().unwrap() / all;
        // However much the host has taken. A little is what the workload does besides, or what its first samples are
        // for.
        let samples = at_least(all, FREQUENCY.parse().unwrap(), all);
        let allowed = deviation(expected, samples) + 0.03;
        let difference = (share / 100.0 - expected).abs();
        assert!(difference < allowed, "{expected} instead of {line}");
        let (succeeds, _, stderr, _) = record(&mut start(), "99.5");
        assert!(!succeeds);
        assert!(
            stderr.contains("--min-coverage asks for 99.5 %"),
            "{stderr}"
        );
    });
}

/// `doctor` takes samples, and says the same of a process that is running.
#[test]
fn of_a_running_process() {
    with_newest(|python| {
        // It works until the test ends, however long doctor takes to begin.
        let mut command = python.program("nested.py", &["1000"]);
        let mut workload = Workload::start(command.env("WITHOUT_PACKAGE", "1"));
        workload.begin();
        let ended = spanprof::run(&[
            "doctor",
            "--json",
            "--sample",
            "2s",
            // So that 50 samples need 50 ms of CPU, however busy the machine is.
            "--frequency",
            FREQUENCY,
            "--pid",
            &workload.pid(),
        ]);
        assert!(ended.status.success(), "{ended:#?}");
        let report: Value = serde_json::from_str(&ended.stdout).expect("JSON");
        let process = &report["processes"][0];
        assert_eq!(process["span_source"], "context", "{report:#}");
        assert!(process["context_not_read"].is_null(), "{report:#}");
        let count = |name: &str| process["samples"][name].as_u64().unwrap_or(0);
        assert!(count("taken") > 50, "{report:#}");
        assert!(count("in_spans") * 10 > count("taken") * 7, "{report:#}");
        assert_eq!(report["host"]["kernel programs"]["ok"], true, "{report:#}");
    });
}

/// Threads that run no Python are a row of their own, by their library, and take nothing from the share that is in
/// spans.
#[test]
fn of_a_process_with_native_threads() {
    with_newest(|python| {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libburner-1a2b3c4d.so.1");
        compile(
            "native_threads.c",
            &library,
            &["-shared", "-fPIC", "-pthread"],
        );
        let mut command = spanprof::command(&[
            "record",
            "--frequency",
            FREQUENCY,
            "--min-coverage",
            "60",
            "--",
        ]);
        command.arg(python.command().get_program());
        command.arg(tests::python::program("native_threads.py"));
        let running = tests::process::Running::start(command.arg(&library));
        let ended = running.wait();
        assert!(ended.status.success(), "{ended:#?}");
        let burner = "(native threads: libburner) ";
        assert!(ended.stdout.contains(burner), "{ended:#?}");
        let native = spanprof::count_of(&ended.stdout, "samples_unattributed", "native_thread");
        let in_spans = spanprof::count(&ended.stdout, "samples_attributed");
        // It burns one and a half times as much as both spans.
        assert!(native > in_spans, "{ended:#?}");
    });
}

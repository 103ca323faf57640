//! Each sample carries the span that `trace.get_current_span()` would have returned at that instant in
//! that task, or none: judged sample by sample by what the workload itself recorded.

use std::{process::Command, thread};

use serde_json::Value;
use tests::{
    http, on_every_python,
    oracle::{Oracle, Verdict},
    process::Running,
    python::{Python, Workload, releases, with_newest},
    spanprof::Recorded,
};

on_every_python!(
    asyncio,
    asyncio_without_package,
    uvloop,
    uvloop_without_package,
    threads,
    threads_without_package,
    gevent,
    gevent_without_package,
    fastapi,
    fastapi_without_package,
    celery,
    celery_without_package,
    broken_worlds,
);

/// Requests that a service is asked at a time, and in all.
const CUSTOMERS: usize = 12;
const REQUESTS: usize = 240;
const TASKS: usize = 100;

fn asyncio(python: &Python) {
    judge(python.program("oracle_asyncio.py", &[]), 1500);
}

fn asyncio_without_package(python: &Python) {
    judge(
        without_package(python.program("oracle_asyncio.py", &[])),
        1500,
    );
}

fn uvloop(python: &Python) {
    judge(python.program("oracle_asyncio.py", &["uvloop"]), 1500);
}

fn uvloop_without_package(python: &Python) {
    let command = python.program("oracle_asyncio.py", &["uvloop"]);
    judge(without_package(command), 1500);
}

fn threads(python: &Python) {
    judge(python.program("oracle_threads.py", &[]), 1500);
}

fn threads_without_package(python: &Python) {
    judge(
        without_package(python.program("oracle_threads.py", &[])),
        1500,
    );
}

fn gevent(python: &Python) {
    judge(python.program("oracle_gevent.py", &[]), 500);
}

fn gevent_without_package(python: &Python) {
    judge(
        without_package(python.program("oracle_gevent.py", &[])),
        500,
    );
}

fn fastapi(python: &Python) {
    serve(python.program("oracle_fastapi.py", &[])).assert_right(500);
}

fn fastapi_without_package(python: &Python) {
    serve(without_package(python.program("oracle_fastapi.py", &[]))).assert_right(500);
}

fn celery(python: &Python) {
    prefork(|arguments| python.program("oracle_celery.py", arguments)).assert_right(500);
}

fn celery_without_package(python: &Python) {
    prefork(|arguments| without_package(python.program("oracle_celery.py", arguments)))
        .assert_right(500);
}

/// Releases of OpenTelemetry from 1.20 on, beside the newest of the other tests.
#[test]
fn releases_of_opentelemetry() {
    for python in releases() {
        for program in ["oracle_threads.py", "oracle_asyncio.py"] {
            judge(without_package(python.program(program, &[])), 1500);
        }
    }
}

/// A runtime context that derives from OpenTelemetry's is read like that.
#[test]
fn derived_runtime_context() {
    with_newest(|python| {
        let mut command = without_package(python.program("oracle_threads.py", &[]));
        command.env("OTEL_PYTHON_CONTEXT", "derived_context");
        judge(command, 1500);
    });
}

/// A runtime context that keeps its values elsewhere cannot be read. Without the package no sample has
/// a label, and those that may be in a span are counted.
#[test]
fn foreign_runtime_context_without_package() {
    with_newest(|python| {
        let mut command = without_package(python.program("oracle_threads.py", &[]));
        command.env("OTEL_PYTHON_CONTEXT", "foreign_context");
        let (verdict, recorded) = run(command);
        assert_eq!(verdict.wrong, 0, "{verdict}");
        assert_eq!(verdict.labelled, 0, "{verdict}");
        let counted = recorded.count("samples_context_hidden");
        let judged = i64::try_from(verdict.judged()).unwrap();
        assert!(judged > 1500 && counted >= judged, "{counted} of {judged}");
    });
}

/// With the package the thread's span stack stands in: some samples have no label, and none a wrong one.
#[test]
fn foreign_runtime_context() {
    with_newest(|python| {
        for program in ["oracle_threads.py", "oracle_asyncio.py"] {
            let mut command = python.program(program, &[]);
            command.env("OTEL_PYTHON_CONTEXT", "foreign_context");
            let (verdict, _) = run(command);
            assert_eq!(verdict.wrong, 0, "{program}: {verdict}");
            assert!(verdict.judged() > 1500, "{program}: {verdict}");
        }
    });
}

/// A world that is broken or changes under the profiler: no sample is wrong, those of the broken part
/// are counted under the reason, and those of the whole parts, before and after, have their labels.
fn broken_worlds(python: &Python) {
    for (case, loss, missed) in [
        // Found out by the first sample in no span, and mended within 100 ms.
        ("reloaded", "samples_context_unexpected", 0..1),
        // Nobody sees a span of a library that was not there before, until somebody asks.
        ("upgraded", "", 1..450),
        ("subclassed", "samples_span_class_unknown", 1..450),
        ("liar", "samples_span_class_unknown", 250..450),
        ("slotted", "samples_span_class_unknown", 250..450),
        ("unreadable", "samples_context_unreadable", 250..450),
        ("cyclic", "samples_context_unexpected", 250..450),
    ] {
        let command = python.program("oracle_broken.py", &[case]);
        let (verdict, recorded) = run(without_package(command));
        assert_eq!(verdict.wrong, 0, "{case}: {verdict}");
        let found = verdict.missed_in_all();
        assert!(missed.contains(&found), "{case}: {verdict}");
        if !loss.is_empty() {
            let counted = recorded.count(loss);
            let all = counted >= 1 && counted.unsigned_abs() >= found;
            assert!(all, "{case}: {counted} of {verdict}");
        }
        // Of the whole parts, nothing is missed.
        assert!(verdict.labelled > 400, "{case}: {verdict}");
    }
}

fn without_package(mut command: Command) -> Command {
    command.env("WITHOUT_PACKAGE", "1");
    command
}

/// Runs a workload to its end; all of its samples are right, and there are enough.
fn judge(command: Command, at_least: u64) {
    run(command).0.assert_right(at_least);
}

/// Runs a workload to its end.
fn run(mut command: Command) -> (Verdict, Recorded) {
    let oracle = Oracle::new();
    oracle.tell(&mut command);
    let mut workload = Workload::start(&mut command);
    let watching = oracle.watch(&["--pid", &workload.pid()]);
    workload.begin();
    workload.facts("done");
    shown(watching.judge())
}

/// Runs a service under load from this process.
fn serve(mut command: Command) -> Verdict {
    let oracle = Oracle::new();
    oracle.tell(&mut command);
    let workload = Workload::start(&mut command);
    let facts = workload.facts("port");
    let port = facts.get("port").and_then(Value::as_u64).unwrap_or(0);
    let address = format!("127.0.0.1:{port}");
    let watching = oracle.watch(&["--pid", &workload.pid()]);
    http::load(CUSTOMERS, REQUESTS, |number| {
        let kind = if number.is_multiple_of(2) {
            "async"
        } else {
            "sync"
        };
        let answer = http::get(&address, &format!("/{kind}/{number}"));
        assert_eq!(answer, number.to_string());
    });
    shown(watching.judge()).0
}

/// Runs a worker that forks its children, and gives it work from another process.
fn prefork(program: impl Fn(&[&str]) -> Command) -> Verdict {
    let oracle = Oracle::new();
    let command = |arguments: &[&str]| {
        let mut command = program(arguments);
        command.env("BROKER_FOLDER", oracle.path(""));
        oracle.tell(&mut command);
        command
    };
    let worker = Running::start(&mut command(&["worker"]));
    worker.stdout.wait_for("worker ");
    let sender = Running::start(&mut command(&["send", &TASKS.to_string()]));
    // Children that are forked, and spans that are opened, before and during the recording.
    worker.stdout.wait_for("done 5.");
    let watching = oracle.watch(&[]);
    assert!(sender.wait().status.success());
    for number in 0..TASKS {
        worker.stdout.wait_for(&format!("done {number}."));
    }
    shown(watching.judge()).0
}

/// The figures are in the output of `cargo xtask test --show-output`.
#[expect(clippy::print_stderr, reason = "the figures are what was measured")]
fn shown(judged: (Verdict, Recorded)) -> (Verdict, Recorded) {
    eprintln!(
        "{}: {}",
        thread::current().name().unwrap_or("test"),
        judged.0
    );
    judged
}

//! Each sample carries the span that `trace.get_current_span()` would have returned at that instant in
//! that task, or none: judged sample by sample by what the workload itself recorded.

use std::{collections::BTreeMap, fs, process::Command, thread};

use serde_json::Value;
use tests::{
    http, on_every_python,
    oracle::{Oracle, Verdict, most_samples},
    process::Running,
    python::{Python, Workload, releases, with_newest},
    spanprof::Recorded,
};

on_every_python!(
    asyncio,
    uvloop,
    threads,
    gevent,
    fastapi,
    celery,
    broken_worlds,
);

/// Requests that a service gets at a time, and in all.
const CUSTOMERS: usize = 12;
const REQUESTS: usize = 240;
/// Tasks that workers get before the recording begins, and all of them.
const FIRST_TASKS: usize = 40;
const TASKS: usize = 100;

/// Seconds of CPU time in the stretches of the programs, as their threads measure it; of the services, while they are
/// recorded.
const ASYNCIO: f64 = 2.1;
const THREADS: f64 = 2.4;
const GEVENT: f64 = 1.3;
const FASTAPI: f64 = 1.2;
const CELERY: f64 = 1.2;

// With the package and without it, at the same time and in one recording.

fn asyncio(python: &Python) {
    judge(both(|| python.program("oracle_asyncio.py", &[])), ASYNCIO);
}

fn uvloop(python: &Python) {
    judge(
        both(|| python.program("oracle_asyncio.py", &["uvloop"])),
        ASYNCIO,
    );
}

fn threads(python: &Python) {
    judge(both(|| python.program("oracle_threads.py", &[])), THREADS);
}

fn gevent(python: &Python) {
    judge(both(|| python.program("oracle_gevent.py", &[])), GEVENT);
}

fn fastapi(python: &Python) {
    serve(both(|| python.program("oracle_fastapi.py", &[])));
}

fn celery(python: &Python) {
    prefork(|arguments| python.program("oracle_celery.py", arguments));
}

fn both(command: impl Fn() -> Command) -> Vec<Command> {
    vec![command(), without_package(command())]
}

/// Releases of OpenTelemetry from 1.20 on, beside the newest of the other tests.
#[test]
fn releases_of_opentelemetry() {
    for python in releases() {
        let programs = ["oracle_threads.py", "oracle_asyncio.py"];
        let commands = programs.map(|program| without_package(python.program(program, &[])));
        judge(commands.into(), ASYNCIO);
    }
}

/// A runtime context that derives from OpenTelemetry's is read like that.
#[test]
fn derived_runtime_context() {
    with_newest(|python| {
        let mut command = without_package(python.program("oracle_threads.py", &[]));
        command.env("OTEL_PYTHON_CONTEXT", "derived_context");
        judge(vec![command], THREADS);
    });
}

/// A runtime context that keeps its values elsewhere cannot be read. Without the package no sample has
/// a label, and those that may be in a span are counted.
#[test]
fn foreign_runtime_context_without_package() {
    with_newest(|python| {
        let mut command = without_package(python.program("oracle_threads.py", &[]));
        command.env("OTEL_PYTHON_CONTEXT", "foreign_context");
        let (verdict, recorded) = run_one(command);
        assert_eq!(verdict.wrong, 0, "{verdict}");
        assert_eq!(verdict.labelled, 0, "{verdict}");
        let counted = recorded.count_of("samples_unattributed", "context_hidden");
        let judged = i64::try_from(verdict.judged()).unwrap();
        assert!(verdict.has(THREADS), "{verdict}");
        assert!(counted >= judged, "{counted} of {judged}");
    });
}

/// With the package the thread's span stack stands in: some samples have no label, and none a wrong one.
#[test]
fn foreign_runtime_context() {
    with_newest(|python| {
        for program in ["oracle_threads.py", "oracle_asyncio.py"] {
            let mut command = python.program(program, &[]);
            command.env("OTEL_PYTHON_CONTEXT", "foreign_context");
            let (verdict, _) = run_one(command);
            assert_eq!(verdict.wrong, 0, "{program}: {verdict}");
            assert!(verdict.has(ASYNCIO), "{program}: {verdict}");
        }
    });
}

/// Worlds that are broken or change under the profiler: no sample is wrong, those of the broken part are
/// counted under the reason, and those of the whole parts, before and after, have their labels.
fn broken_worlds(python: &Python) {
    /// First the agent works out how to read a class, and then knows that it cannot.
    const CLASS: [&str; 2] = ["span_class_new", "span_class_unreadable"];
    // The reasons, and how many samples have to lack their label. But for the first case, all of the broken part may:
    // 0.4 s of CPU time.
    let cases: [(&str, &[&str], u64); 7] = [
        // The first sample in no span reveals it, and the agent finds the new place within 100 ms.
        ("reloaded", &["context_unexpected"], 0),
        // The agent sees no span of a library that is new, until it checks again what the process has imported.
        ("upgraded", &[], 0),
        ("subclassed", &CLASS, 0),
        ("slotted", &CLASS, 0),
        ("liar", &CLASS, 100),
        ("unreadable", &["context_not_in_memory"], 100),
        ("cyclic", &["context_unexpected"], 100),
    ];
    let commands = cases
        .each_ref()
        .map(|(case, _, _)| without_package(python.program("oracle_broken.py", &[case])));
    let (verdicts, recorded) = run(commands.into());
    let mut lost: BTreeMap<&[&str], u64> = BTreeMap::new();
    for (verdict, (case, reasons, least)) in verdicts.into_iter().zip(cases) {
        assert_eq!(verdict.wrong, 0, "{case}: {verdict}");
        let found: u64 = verdict.missed_in_all();
        assert!(found >= least, "{case}: {verdict}");
        let most = match case {
            "reloaded" => 0.0,
            _ => most_samples(0.4),
        };
        #[expect(clippy::cast_precision_loss, reason = "some hundred samples")]
        let is_of_broken = found as f64 <= most;
        assert!(is_of_broken, "{case}: {verdict}");
        *lost.entry(reasons).or_default() += found;
        // Of the whole parts nothing is missed, and the broken part was sampled, too.
        assert!(verdict.has_labelled(0.6), "{case}: {verdict}");
        assert!(verdict.has(1.0), "{case}: {verdict}");
    }
    let count = |reason: &&str| recorded.count_of("samples_unattributed", reason);
    for (reasons, found) in lost.into_iter().filter(|(it, _)| !it.is_empty()) {
        let counted: i64 = reasons.iter().map(count).sum();
        assert!(
            counted.unsigned_abs() >= found,
            "{reasons:?}: {counted} of {found}"
        );
    }
    // Most of those of the class that tells another context than it keeps.
    assert!(count(&CLASS[1]) > 50, "{}", count(&CLASS[1]));
}

fn without_package(mut command: Command) -> Command {
    command.env("WITHOUT_PACKAGE", "1");
    command
}

/// Runs workloads to their end; all of their samples are right, and there are enough of each.
fn judge(commands: Vec<Command>, seconds: f64) {
    for verdict in run(commands).0 {
        verdict.assert_right(seconds);
    }
}

/// Runs one workload to its end.
fn run_one(command: Command) -> (Verdict, Recorded) {
    let (mut verdicts, recorded) = run(vec![command]);
    (verdicts.remove(0), recorded)
}

/// Runs workloads to their end, all at the same time; a verdict for each, in their order.
fn run(commands: Vec<Command>) -> (Vec<Verdict>, Recorded) {
    let (oracle, mut workloads) = started(commands);
    let watching = oracle.watch(&by_pid(&workloads));
    for workload in &mut workloads {
        workload.begin();
    }
    for workload in &workloads {
        workload.facts("done");
    }
    let (verdicts, recorded) = watching.judge_each();
    (in_order(&workloads, verdicts), recorded)
}

fn started(commands: Vec<Command>) -> (Oracle, Vec<Workload>) {
    let oracle = Oracle::new();
    let mut workloads = Vec::new();
    for mut command in commands {
        oracle.tell(&mut command);
        workloads.push(Workload::start(&mut command));
    }
    (oracle, workloads)
}

fn by_pid(workloads: &[Workload]) -> Vec<String> {
    let pids = workloads.iter().map(Workload::pid);
    pids.flat_map(|pid| ["--pid".to_owned(), pid]).collect()
}

fn in_order(workloads: &[Workload], mut verdicts: BTreeMap<u32, Verdict>) -> Vec<Verdict> {
    let verdict = |workload: &Workload| {
        let verdict = verdicts.remove(&workload.running.pid()).unwrap_or_default();
        shown(&verdict);
        verdict
    };
    workloads.iter().map(verdict).collect()
}

/// Runs services under load from this process; all of their samples are right.
fn serve(commands: Vec<Command>) {
    let (oracle, workloads) = started(commands);
    let watching = oracle.watch(&by_pid(&workloads));
    thread::scope(|scope| {
        for workload in &workloads {
            scope.spawn(|| load(workload));
        }
    });
    for verdict in in_order(&workloads, watching.judge_each().0) {
        verdict.assert_right(FASTAPI);
    }
}

fn load(workload: &Workload) {
    let facts = workload.facts("port");
    let port = facts.get("port").and_then(Value::as_u64).unwrap_or(0);
    let address = format!("127.0.0.1:{port}");
    http::load(CUSTOMERS, REQUESTS, |number| {
        let kind = if number.is_multiple_of(2) {
            "async"
        } else {
            "sync"
        };
        let answer = http::get(&address, &format!("/{kind}/{number}"));
        assert_eq!(answer, number.to_string());
    });
}

/// Runs workers that fork their children, with the package and without, and gives them work from other
/// processes; all of their samples are right.
fn prefork(program: impl Fn(&[&str]) -> Command) {
    let oracle = Oracle::new();
    let command = |folder: &str, arguments: &[&str]| {
        let mut command = program(arguments);
        command.env("BROKER_FOLDER", oracle.path(folder));
        oracle.tell(&mut command);
        if folder == "without" {
            command = without_package(command);
        }
        command
    };
    let folders = ["with", "without"];
    for folder in folders {
        fs::create_dir(oracle.path(folder)).unwrap();
        fs::create_dir(oracle.path(&format!("{folder}-outbox"))).unwrap();
    }
    let workers = folders.map(|folder| Running::start(&mut command(folder, &["worker"])));
    for worker in &workers {
        worker.stdout.wait_for("worker ");
    }
    let senders = |from: usize, to: usize| {
        let range = [from.to_string(), to.to_string()];
        folders.map(|folder| command(folder, &["send", &range[0], &range[1]]))
    };
    let send = |senders: [Command; 2]| {
        for sender in senders.map(|mut sender| Running::start(&mut sender)) {
            assert!(sender.wait().status.success());
        }
    };
    // Children that are forked, and spans that are opened, before and during the recording: most of the tasks are sent
    // when it has begun, however long that took.
    let (before, meanwhile) = (senders(0, FIRST_TASKS), senders(FIRST_TASKS, TASKS));
    send(before);
    for worker in &workers {
        worker.stdout.wait_for("done 5.");
    }
    let watching = oracle.watch(&[]);
    send(meanwhile);
    for worker in &workers {
        for number in 0..TASKS {
            worker.stdout.wait_for(&format!("done {number}."));
        }
    }
    let (mut verdicts, _) = watching.judge_each();
    for worker in &workers {
        let children = worker.stdout.so_far();
        let children = children
            .lines()
            .filter_map(|line| line.strip_prefix("worker "));
        let mut both = Verdict::default();
        for child in children {
            both.add(verdicts.remove(&child.parse().unwrap()).unwrap_or_default());
        }
        shown(&both);
        both.assert_right(CELERY);
    }
}

/// The figures are in the output of `cargo xtask test --show-output`.
fn shown(verdict: &Verdict) {
    eprintln!("{}: {verdict}", thread::current().name().unwrap_or("test"));
}

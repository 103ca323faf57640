//! The agent finds processes at once and without configuration, however they come to run Python.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tests::{
    compile::compile,
    process::Running,
    python::{self, Python, Workload, with_newest},
    sampling::{at_least, at_most},
    spanprof::{self, Recorded, Recording},
};

/// CPU time of each process, of which the agent may miss so much before it knows the process.
const SECONDS: &str = "3";
const MOST_MISSED: f64 = 0.7;
const FREQUENCY: f64 = 199.0;

fn recording(arguments: &[&str]) -> Recording {
    let frequency = FREQUENCY.to_string();
    Recording::start(&[&["--frequency", &frequency][..], arguments].concat())
}

/// Of the CPU time that a process reports, no more is missing than may be, and what chance or the host has taken.
fn assert_found(recorded: &Recorded, pid: &str, used: f64) {
    let found = seconds_of(recorded, pid);
    eprintln!("process {pid}: {found:.2} of {used:.2} s");
    let least = at_least(used - MOST_MISSED, FREQUENCY, recorded.stolen) / FREQUENCY;
    assert!(found > least, "{pid}: {found} of {used} s, not {least}");
}

/// The CPU time that processes have reported, by pid.
fn told(stdout: &str) -> Vec<(String, f64)> {
    let values = stdout
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let told = values.filter_map(|it| Some((it["pid"].to_string(), it["busy"].as_f64()?)));
    told.collect()
}

/// Records the whole host while a command runs, and compares the CPU time that each of its processes reports with
/// its samples.
fn found_at_once(command: &mut Command, processes: usize) -> Recorded {
    let recording = recording(&[]);
    let ended = Running::start(command).wait();
    assert!(ended.status.success(), "{ended:#?}");
    let recorded = recording.stop();
    let told = told(&ended.stdout);
    assert_eq!(told.len(), processes, "{}", ended.stdout);
    for (pid, used) in told {
        assert_found(&recorded, &pid, used);
    }
    recorded
}

/// CPU time in `busy` of a process.
fn seconds_of(recorded: &Recorded, pid: &str) -> f64 {
    let profile = &recorded.profile;
    profile.seconds_of(|row| row.label("pid") == pid && row.is_in("busy"))
}

fn busy(python: &Python, how: &[&str]) -> Command {
    python.program("busy.py", &[&[SECONDS], how].concat())
}

/// A shell that becomes Python, and a Python that executes itself once more.
#[test]
fn programs_that_execute_python() {
    with_newest(|python| {
        let mut shell = Command::new("sh");
        let path = &python.path;
        let script = python::program("busy.py");
        shell
            .args(["-c", r#"sleep 0.2; exec "$0" "$@""#])
            .arg(path)
            .arg(script)
            .arg(SECONDS);
        found_at_once(&mut shell, 1);
        found_at_once(&mut busy(python, &["again"]), 1);
    });
}

/// An interpreter whose code lies in memory of no file from its start on, for the sake of huge pages.
#[test]
fn code_in_huge_pages() {
    with_newest(|python| {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libmove.so");
        compile("moved_text.c", &library, &["-shared", "-fPIC"]);
        let mut command = busy(python, &[]);
        command
            .env("MOVED_TEXT", "python3.")
            .env("MOVED_AT_START", "1")
            .env("LD_PRELOAD", &library);
        found_at_once(&mut command, 1);
    });
}

/// Of the whole host, each process is counted that runs a Python which cannot be profiled, and `doctor` says of each why.
#[test]
fn refused_ones() {
    if !spanprof::is_ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("pypy3.11");
    compile("other_python.c", &program, &[]);
    let running = [(); 3].map(|()| Running::start(Command::new(&program).arg("600")));
    let recorded = spanprof::run(&["record", "--duration", "300ms"]);
    let counted = spanprof::count_of(&recorded.stdout, "processes_not_profiled", "unsupported");
    assert!(counted >= 3, "{recorded:#?}");
    let doctor = spanprof::run(&["doctor", "--json"]);
    let said: Value = serde_json::from_str(&doctor.stdout).unwrap();
    for pid in running.each_ref().map(Running::pid) {
        let mut processes = said["processes"].as_array().unwrap().iter();
        let process = processes.find(|it| it["pid"] == pid);
        let reason = process.map(|it| it["reason"].to_string()).unwrap();
        assert!(reason.contains("it runs PyPy"), "{pid}: {reason}");
    }
}

/// `opentelemetry-instrument` executes the interpreter a second time.
#[test]
fn auto_instrumentation() {
    with_newest(|python| {
        let instrument = python.path.with_file_name("opentelemetry-instrument");
        let mut command = python.command();
        let program = command.get_program().to_owned();
        let mut wrapped = Command::new(instrument);
        for (name, value) in command.env("OTEL_TRACES_EXPORTER", "none").get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        wrapped
            .env("OTEL_METRICS_EXPORTER", "none")
            .env("OTEL_LOGS_EXPORTER", "none");
        wrapped
            .arg(program)
            .arg(python::program("busy.py"))
            .arg(SECONDS);
        found_at_once(&mut wrapped, 1);
    });
}

/// Children by `os.fork`, and by both ways of `multiprocessing`.
#[test]
fn children() {
    with_newest(|python| {
        for how in ["fork", "multiprocessing-fork", "multiprocessing-spawn"] {
            found_at_once(&mut busy(python, &[how]), 3);
        }
    });
}

/// The `libpython` of an interpreter.
fn library(python: &Python) -> Option<PathBuf> {
    let question = "import sysconfig; print(sysconfig.get_config_var('LIBDIR') + '/' + sysconfig.get_config_var('INSTSONAME'))";
    let output = python.command().args(["-c", question]).output().unwrap();
    let path = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    path.is_file().then_some(path)
}

/// Another program that runs Python out of a library: loaded at once, and long after its start.
#[test]
fn embedded_interpreters() {
    with_newest(|python| {
        let Some(library) = library(python) else {
            return tests::skip("the newest CPython has no libpython");
        };
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("shopd");
        compile("embed.c", &program, &[]);
        // Bundles unpack their library somewhere, and delete it while they run or before.
        let bundled = folder.path().join("bundled.so");
        fs::copy(&library, &bundled).unwrap();
        let deleted = "/proc/self/fd/9".as_ref();
        for (wait, library) in [("0", library.as_path()), ("7", &library), ("0", deleted)] {
            let mut command = Command::new("sh");
            command.args([
                "-c",
                r#"exec 9<"$1"; [ "$2" = /proc/self/fd/9 ] && rm "$1"; shift; exec "$0" "$@""#,
            ]);
            command
                .arg(&program)
                .arg(&bundled)
                .arg(library)
                .arg(wait)
                .arg(python::program("busy.py"))
                .arg(SECONDS);
            let recorded = found_at_once(&mut command, 1);
            assert_eq!(recorded.count("mapping_notices_lost"), 0);
        }
    });
}

/// Thousands of processes that end at once take nothing from one that runs.
#[test]
fn short_lived_processes() {
    with_newest(|python| {
        let recording = recording(&[]);
        let steady = Running::start(&mut python.program("busy.py", &["6"]));
        let mut shell = Command::new("sh");
        shell.args(["-c", "i=0; while [ $i -lt 3000 ]; do /bin/true; i=$((i+1)); done; i=0; while [ $i -lt 50 ]; do \"$0\" -S -c 'pass'; i=$((i+1)); done"]);
        let ended = Running::start(shell.arg(&python.path)).wait();
        assert!(ended.status.success(), "{ended:#?}");
        let ended = steady.wait();
        let recorded = recording.stop();
        let told = told(&ended.stdout);
        let (pid, used) = told.first().unwrap();
        assert_found(&recorded, pid, *used);
        assert_eq!(recorded.count_of("process_notices_lost", "agent_busy"), 0);
    });
}

/// The agent notices within a second that a process imports OpenTelemetry long after its start.
#[test]
fn late_imports() {
    with_newest(|python| {
        let mut command = python.program("late_import.py", &[]);
        let mut workload = Workload::start(command.env("WITHOUT_PACKAGE", "1"));
        let recording = recording(&[]);
        workload.begin();
        workload.facts("done");
        let recorded = recording.stop();
        let (mut right, mut all) = (0, 0);
        for row in recorded.profile.rows_in("in_span") {
            let span = row.label("span_name");
            assert!(matches!(span, "" | "late"), "{span}");
            all += row.nanoseconds;
            right += if span == "late" { row.nanoseconds } else { 0 };
        }
        eprintln!(
            "{} of {} ms in the span",
            right / 1_000_000,
            all / 1_000_000
        );
        assert!(all - right < 1_500_000_000, "{right} of {all}");
    });
}

/// A reused pid is another process: what the agent knew of the first does not count for the second.
#[test]
fn reused_pids() {
    const LAST: &str = "/proc/sys/kernel/ns_last_pid";
    with_newest(|python| {
        if !Path::new(LAST).exists() {
            return tests::skip("this kernel cannot be told which pid comes next");
        }
        let recording = recording(&[]);
        let first = Running::start(&mut python.program("busy.py", &["1"]));
        let pid = first.pid();
        let first = first.wait();
        assert!(first.status.success());
        let mut second = None;
        for _ in 0..100 {
            fs::write(LAST, (pid - 1).to_string()).unwrap();
            let mut command = Command::new("sh");
            command.args(["-c", "exec \"$0\" \"$@\""]).arg(&python.path);
            command.arg(python::program("busy.py")).arg(SECONDS);
            let running = Running::start(&mut command);
            if running.pid() == pid {
                second = Some(running);
                break;
            }
        }
        let ended = second.expect("a pid comes again").wait();
        let recorded = recording.stop();
        // Both have the pid, and each may miss its start.
        let both = [first, ended].map(|it| told(&it.stdout).pop().unwrap().1);
        let used: f64 = both.iter().sum();
        let found = seconds_of(&recorded, &pid.to_string());
        let least = at_least(used - 2.0 * MOST_MISSED, FREQUENCY, recorded.stolen) / FREQUENCY;
        let most = at_most(used, FREQUENCY) / FREQUENCY;
        assert!((least..most).contains(&found), "{found} of {both:?} s");
    });
}

/// More Python processes than are allowed: those beyond are counted, and the others profiled.
#[test]
fn more_than_allowed() {
    with_newest(|python| {
        let mut children = busy(python, &["fork"]);
        let recording = recording(&["--max-processes", "2"]);
        let ended = Running::start(&mut children).wait();
        let recorded = recording.stop();
        assert!(ended.status.success(), "{ended:#?}");
        let told = told(&ended.stdout);
        let profiled = told
            .iter()
            .filter(|(pid, _)| seconds_of(&recorded, pid) > 1.0);
        // The parent is one of the two, unless another Python of the host is.
        let profiled = profiled.count();
        assert!(profiled < 3, "{profiled} of 3");
        assert!(
            recorded.count_of("processes_not_profiled", "too_many") > 0,
            "{}",
            recorded.ended.stdout
        );
    });
}

/// The agent knows the files of a command that is not Python, too: native frames need them.
#[test]
fn a_command_that_is_not_python() {
    if !spanprof::is_ready() {
        return;
    }
    // The kernel ends it after a second of CPU time.
    let script = "trap 'exit 0' XCPU; ulimit -S -t 1; while :; do :; done";
    let recorded = recording(&["--", "sh", "-c", script]).end();
    assert!(recorded.profile.samples() > 50);
    // Further out a walk without frame pointers may lead anywhere.
    let rows = recorded.profile.rows.iter();
    let unknown = rows.filter(|row| {
        row.stack
            .first()
            .is_some_and(|leaf| leaf == "[unknown mapping]")
    });
    assert_eq!(unknown.count(), 0);
}

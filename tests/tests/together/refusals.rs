//! What cannot be recorded, and what was not: each is told by its name.

use std::{fs, io::Read as _, path::Path, process::Command};

use flate2::read::GzDecoder;
use tests::{
    compile::compile,
    process::{Ended, Running, eventually},
    python::with_newest,
    spanprof,
};

/// What `record` and `doctor` say of a pid that they refuse.
fn refused(pid: u32) -> [Ended; 2] {
    let pid = pid.to_string();
    let record = spanprof::run(&["record", "--duration", "100ms", "--pid", &pid]);
    let doctor = spanprof::run(&["doctor", "--pid", &pid]);
    for ended in [&record, &doctor] {
        assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    }
    [record, doctor]
}

/// The first thing below a folder of the procfs that is not this.
fn other_than(folder: &str, it: u32) -> u32 {
    eventually("another one is there", || {
        let entries = fs::read_dir(folder).unwrap().flatten();
        let mut numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        numbers.find(|&number| number != it)
    })
}

/// A thread that is not its process's first is no process: the error names the process.
#[test]
fn a_thread() {
    with_newest(|python| {
        let script = "import threading, time; \
                      threading.Thread(target=time.sleep, args=(1000,), daemon=True).start(); time.sleep(1000)";
        let running = Running::start(python.command().args(["-c", script]));
        let pid = running.pid();
        let thread = other_than(&format!("/proc/{pid}/task"), pid);
        let says = format!("{thread} is a thread of process {pid}: give --pid {pid}");
        let [record, doctor] = refused(thread);
        assert!(record.stderr.contains(&says), "{record:#?}");
        assert!(doctor.stdout.contains(&says), "{doctor:#?}");
    });
}

/// Of a process that only waits for a Python that it has started, the error names that one: so it is with launchers,
/// and with programs that are unpacked from one file.
#[test]
fn a_parent() {
    with_newest(|python| {
        let mut parent = Command::new("sh");
        // Without the last command the shell would become the interpreter.
        parent.args(["-c", "\"$0\" -c 'import time; time.sleep(1000)'; true"]);
        let running = Running::start(parent.arg(python.command().get_program()));
        let pid = running.pid();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let child = eventually("its child runs Python", || {
            let child = fs::read_to_string(&children).ok()?.trim().to_owned();
            let maps = fs::read_to_string(format!("/proc/{child}/maps")).ok()?;
            maps.contains("python").then_some(child)
        });
        let says = format!("processes that it has started do: give --pid {child}");
        let [record, doctor] = refused(pid);
        assert!(record.stderr.contains(&says), "{record:#?}");
        assert!(doctor.stdout.contains(&says), "{doctor:#?}");
    });
}

/// Other implementations of Python are told by their name, by what the file exports or what it is called.
#[test]
fn another_implementation() {
    if !spanprof::is_ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for (name, arguments) in [("app", ["-rdynamic"].as_slice()), ("pypy3.11", &[])] {
        let program = folder.path().join(name);
        compile("other_python.c", &program, arguments);
        let says = "it runs PyPy, and only CPython is profiled";
        let path = program.to_str().unwrap();
        let recorded = spanprof::run(&["record", "--", path]);
        assert!(recorded.stderr.contains(says), "{recorded:#?}");
        let counted = spanprof::count_of(&recorded.stdout, "processes_not_profiled", "unsupported");
        assert_eq!(counted, 1, "{recorded:#?}");
        let running = Running::start(Command::new(path).arg("600"));
        let [record, doctor] = refused(running.pid());
        assert!(record.stderr.contains(says), "{record:#?}");
        assert!(doctor.stdout.contains(says), "{doctor:#?}");
    }
}

/// One file given as two outputs is refused before anything is recorded, however its path is spelled.
#[test]
fn one_file_as_two_outputs() {
    if !spanprof::is_ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let [one, other] = [format!("{path}/cpu.svg"), format!("{path}/./cpu.svg")];
    for again in [&one, &other] {
        let ended = spanprof::run(&["record", "--duration", "10m", "-o", &one, "-o", again]);
        assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
        for says in [one.as_str(), again, "give each output a file of its own"] {
            assert!(ended.stderr.contains(says), "{ended:#?}");
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// If nothing was sampled, that is said, and each output is a file of its format.
#[test]
fn nothing_sampled() {
    if !spanprof::is_ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let [pprof, svg] = [path("cpu.pb.gz"), path("cpu.svg")].map(|it| it.display().to_string());
    let ended = spanprof::run(&["record", "-o", &pprof, "-o", &svg, "--", "sleep", "0.1"]);
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    assert!(ended.stderr.contains("no samples"), "{ended:#?}");
    assert!(fs::read_to_string(&svg).unwrap().contains("no samples"));
    let mut bytes = Vec::new();
    let mut file = GzDecoder::new(fs::File::open(&pprof).unwrap());
    file.read_to_end(&mut bytes).unwrap();
    assert!(!bytes.is_empty());
    if let Some(raw) = tests::peers::pprof(&["-raw"], Path::new(&pprof)) {
        assert!(raw.contains("PeriodType: cpu nanoseconds"), "{raw}");
    }
}

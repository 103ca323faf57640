//! What goes wrong ends in a clear message, or in a loss that is counted.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::Path,
    process::Command,
};

use tests::{
    process::{Ended, Running, Signal},
    python::with_newest,
    spanprof::{self, Recording},
    stopped::Stopped,
};

/// No process can have it: the kernel gives out pids up to 4 194 304.
const NO_PID: &str = "4194305";
/// A user without rights; by custom `nobody`.
const NOBODY: u32 = 65_534;

/// The command failed with exit code 1 and an error of one line that says all of this.
fn assert_refused(ended: &Ended, says: &[&str]) {
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    let lines = ended.stderr.lines();
    let errors: Vec<_> = lines.filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{ended:#?}");
    for part in says {
        assert!(errors.concat().contains(part), "no {part:?} in {errors:?}");
    }
}

/// Without rights `record` says what it needs, and `doctor` that profiling would not work.
#[test]
fn unprivileged() {
    if !spanprof::is_ready() {
        return;
    }
    // The folder of the build may be closed to other users.
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("spanprof");
    fs::copy(spanprof::binary(), &binary).unwrap();
    for path in [folder.path(), &binary] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let run = |arguments: &[&str]| {
        let mut command = Command::new(&binary);
        command.args(arguments).uid(NOBODY).gid(NOBODY);
        Running::start(command.current_dir("/")).wait()
    };
    let needs = ["root", "CAP_BPF", "CAP_PERFMON", "CAP_SYS_PTRACE"];
    assert_refused(&run(&["record", "--duration", "1s"]), &needs);
    let agent = ["agent", "--pyroscope-url", "http://127.0.0.1:9"];
    assert_refused(&run(&agent), &needs);
    let doctor = run(&["doctor"]);
    assert_eq!(doctor.status.code(), Some(1), "{doctor:#?}");
    let stdout = &doctor.stdout;
    for missing in ["NO  CAP_BPF", "NO  CAP_SYS_PTRACE", "--  CAP_SYSLOG"] {
        assert!(stdout.contains(missing), "{stdout}");
    }
    assert!(stdout.contains("profiling would NOT work here"), "{stdout}");
}

/// The error for a pid without a process names the pid.
#[test]
fn unknown_pid() {
    if !spanprof::is_ready() {
        return;
    }
    let says = [NO_PID, "no such process"];
    assert_refused(&spanprof::run(&["record", "--pid", NO_PID]), &says);
    assert_refused(&spanprof::run(&["doctor", "--pid", NO_PID]), &says);
}

/// A process that runs no Python is refused with the reason.
#[test]
fn not_a_python() {
    if !spanprof::is_ready() {
        return;
    }
    let sleep = Running::start(Command::new("sleep").arg("1000"));
    let pid = sleep.pid().to_string();
    let ended = spanprof::run(&["record", "--pid", &pid]);
    assert_refused(&ended, &[&pid, "does not run CPython"]);
    let doctor = spanprof::run(&["doctor", "--pid", &pid]);
    assert_eq!(doctor.status.code(), Some(1));
    for says in ["does not run CPython", "not of every process asked for"] {
        assert!(doctor.stdout.contains(says), "{doctor:#?}");
    }
}

/// Outputs that cannot be written are refused before anything is recorded.
#[test]
fn bad_outputs() {
    if !spanprof::is_ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let record = |path: &str| spanprof::run(&["record", "--duration", "10m", "--output", path]);
    assert_refused(
        &record(&path("cpu.html")),
        &["cpu.html", ".pb.gz", ".folded", ".svg"],
    );
    assert_refused(
        &record(&path("missing/cpu.svg")),
        &["missing/cpu.svg", "no folder"],
    );
}

/// With a tiny ring samples are dropped; each is counted, and those taken are those written and
/// those dropped.
#[test]
fn full_ring() {
    with_newest(|python| {
        let [mut first, mut second] = [(); 2].map(|()| python.start("nested.py", &["1"]));
        let pids = [first.pid(), second.pid()];
        let always = ["--ring-size", "4096", "--frequency", "999"];
        let pids = pids.iter().flat_map(|pid| ["--pid", pid]);
        let recording = Recording::start(&always.into_iter().chain(pids).collect::<Vec<_>>());
        // Nobody empties the ring, whatever the machine has to do, and then somebody does, as often as may be.
        let stopped = Stopped::thread(recording.pid(), "data");
        first.begin();
        first.facts("cpu");
        drop(stopped);
        second.begin();
        second.facts("cpu");
        let recorded = recording.stop();
        let dropped = recorded.count_of("samples_lost", "ring_full");
        assert!(dropped > 100, "{recorded:#?}");
        let exported = recorded.profile.samples();
        assert!(exported > 20, "{recorded:#?}");
        let taken = recorded.count("samples_taken");
        let others = recorded.count_of("samples_lost", "process_unknown");
        assert_eq!(taken, exported + dropped + others, "{recorded:#?}");
        let in_spans = recorded.count("samples_attributed");
        let in_none = recorded.count("samples_unattributed");
        assert_eq!(exported, in_spans + in_none, "{recorded:#?}");
    });
}

/// Ctrl-C ends the recording; every output is written and the table is printed.
#[test]
fn interrupted() {
    ended_by(&[Signal::INT]);
}

/// Two signals of one moment are one wish to stop: GNU `timeout` signals its child, and then the child's group.
#[test]
fn told_twice_at_once() {
    ended_by(&[Signal::TERM, Signal::INT]);
}

/// So does a terminal that goes away.
#[test]
fn hung_up() {
    ended_by(&[Signal::HUP]);
}

fn ended_by(signals: &[Signal]) {
    with_newest(|python| {
        let mut workload = python.start("nested.py", &["1"]);
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let mut command = spanprof::command(&["--log", "info", "record", "--duration", "10m"]);
        let names = ["cpu.pb.gz", "cpu.folded", "cpu.svg"];
        for name in names {
            command.arg("--output").arg(path(name));
        }
        command.args(["--pid", &workload.pid()]);
        let recording = Running::start(&mut command);
        recording.stderr.wait_for("recording");
        workload.begin();
        workload.facts("cpu");
        for &signal in signals {
            recording.signal(signal);
        }
        let ended = recording.wait();
        assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
        for name in names {
            assert!(
                ended
                    .stderr
                    .contains(&format!("wrote {}", path(name).display()))
            );
        }
        let stacks = fs::read_to_string(path("cpu.folded")).unwrap();
        assert!(stacks.contains(";main;request;burn "), "{stacks}");
        assert!(
            fs::read_to_string(path("cpu.svg"))
                .unwrap()
                .contains("burn")
        );
        assert!(ended.stdout.contains("root"), "{}", ended.stdout);
        assert!(ended.stdout.contains("samples_taken"), "{}", ended.stdout);
    });
}

/// A kernel without BTF: `record` says what it needs of the kernel, and `doctor` too.
#[test]
fn missing_btf() {
    if !spanprof::is_ready() {
        return;
    }
    let hidden = |arguments: &str| {
        let script = format!("mount -t tmpfs none /sys/kernel/btf && exec \"$0\" {arguments}");
        by_script(&["unshare", "--mount", "sh"], &script, &[])
    };
    let needs = ["/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF"];
    assert_refused(&hidden("record --duration 1s"), &needs);
    let doctor = hidden("doctor");
    assert_eq!(doctor.status.code(), Some(1), "{doctor:#?}");
    assert!(doctor.stdout.contains("NO  BTF"), "{doctor:#?}");
}

/// Runs a script whose `$0` is spanprof.
fn by_script(shell: &[&str], script: &str, arguments: &[&Path]) -> Ended {
    let mut command = Command::new("env");
    command.args(shell).args(["-c", script]);
    command.arg(spanprof::binary()).args(arguments);
    Running::start(&mut command).wait()
}

/// Runs a command whose output has no reader.
fn unheard(arguments: &str) -> Ended {
    let script = format!("\"$0\" {arguments} 2>&1 | true; exit ${{PIPESTATUS[0]}}");
    by_script(&["bash"], &script, &[])
}

/// If the reader of its output is gone, no command panics, and a recording is written nevertheless.
#[test]
fn output_without_a_reader() {
    with_newest(|python| {
        // It works until the test ends.
        let mut workload = python.start("nested.py", &["1000"]);
        workload.begin();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cpu.folded").display().to_string();
        let pid = workload.pid();
        let record =
            format!("--log debug record --pid {pid} --frequency 999 --duration 1s --output {path}");
        assert_eq!(unheard(&record).status.code(), Some(0));
        assert!(fs::read_to_string(&path).unwrap().contains("burn"));
        let doctor = format!("doctor --pid {pid}");
        assert_eq!(unheard(&doctor).status.code(), Some(0));
        assert_eq!(unheard(&format!("{doctor} --json")).status.code(), Some(0));
        assert_eq!(
            unheard(&format!("record --pid {NO_PID}")).status.code(),
            Some(1)
        );
    });
}

/// If an output cannot be written, the error has the reason, and the other outputs are written.
#[test]
fn full_disk() {
    if !spanprof::is_ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let script = "mkdir \"$1/full\" && mount -t tmpfs -o size=4k none \"$1/full\"; \
                  head -c 4096 /dev/zero > \"$1/full/rest\"; \
                  \"$0\" record --duration 100ms -o \"$1/full/cpu.svg\" -o \"$1/cpu.folded\"";
    let ended = by_script(&["unshare", "--mount", "sh"], script, &[folder.path()]);
    assert_refused(&ended, &["1 of 2 outputs could not be written"]);
    for says in [
        format!("cannot write {path}/full/cpu.svg: No space left"),
        format!("wrote {path}/cpu.folded"),
    ] {
        assert!(ended.stderr.contains(&says), "{ended:#?}");
    }
}

/// If an output is full, the command says so and fails.
#[test]
fn full_output() {
    if !spanprof::is_ready() {
        return;
    }
    let script = "\"$0\" record --duration 100ms > /dev/full";
    let ended = by_script(&["sh"], script, &[]);
    assert_refused(
        &ended,
        &["cannot write to standard output", "No space left"],
    );
}

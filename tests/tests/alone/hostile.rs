//! Processes that lie about the Python in them: bounded time, bounded memory, a loss with a name, and
//! nothing lost of the others.

use std::{fs, path::PathBuf, process::Command};

use tests::{
    compile::compile,
    matrix::{self, Cell},
    process::Running,
    spanprof::{Recorded, Recording},
};

/// The most CPU time that a recording may have used, in clock ticks of 10 ms: it lasts some three seconds,
/// in which 3000 samples are taken.
const MOST_TICKS: u64 = 150;
/// The most memory that a recording may have had resident, in KiB.
const MOST_MEMORY: u64 = 128 << 10;

/// CPython 3.12, whose structures the hostile program builds, and its library.
fn victim() -> Option<(Cell, PathBuf)> {
    let cell = matrix::cell("3.12-host")?;
    let question =
        "import sysconfig; print(sysconfig.get_config_var('LIBDIR') + '/libpython3.12.so.1.0')";
    let output = cell.command(&["-c", question]).output().unwrap();
    let library = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    if !library.is_file() {
        tests::skip("CPython 3.12 has no libpython");
        return None;
    }
    Some((cell, library))
}

/// Records the host with a hostile process and an honest one on it.
fn beside_an_honest_process(how: &str) -> Option<Recorded> {
    let (cell, library) = victim()?;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("hostile");
    compile("hostile.c", &program, &[]);
    let recording = Recording::start(&["--frequency", "499"]);
    let mut command = Command::new(&program);
    let hostile = Running::start(command.arg(how).arg(library).arg("3"));
    let busy = cell.program("busy.py").display().to_string();
    let honest = Running::start(&mut cell.command(&[&busy, "3"]));
    let pid = honest.pid().to_string();
    assert!(honest.wait().status.success());
    assert!(hostile.wait().status.success());
    let status = fs::read_to_string(format!("/proc/{}/status", recording.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak: u64 = peak
        .unwrap()
        .trim()
        .trim_end_matches(" kB")
        .parse()
        .unwrap();
    assert!(peak < MOST_MEMORY, "{peak} KiB");
    let ticks = ticks(recording.pid());
    assert!(ticks < MOST_TICKS, "{ticks} ticks of CPU time");
    let recorded = recording.stop();
    let rows = recorded.profile.rows.iter();
    let rows = rows.filter(|row| row.label("pid") == pid && row.is_in("busy"));
    let seconds = rows.map(|row| row.nanoseconds).sum::<i64>() / 10_000_000;
    eprintln!(
        "{how}: {seconds} hundredths of the honest process's 300, {peak} KiB at most, {ticks} ticks"
    );
    assert!(seconds > 240, "{seconds} hundredths of 300");
    Some(recorded)
}

/// A `_PyRuntime` of noise leads nowhere, or into memory that cannot be read.
#[test]
fn garbage() {
    if let Some(recorded) = beside_an_honest_process("garbage") {
        let lost = ["python_not_in_memory", "python_no_thread_state"]
            .map(|reason| recorded.count_of("stacks_incomplete", reason))
            .iter()
            .sum::<i64>();
        assert!(lost > 100, "{}", recorded.ended.stdout);
    }
}

/// A frame that calls itself is cut at the limit and says so; so is a name without end.
#[test]
fn endless_frames_and_names() {
    if let Some(recorded) = beside_an_honest_process("frames") {
        let rows: Vec<_> = recorded
            .profile
            .rows
            .iter()
            .filter(|row| row.is_in("[truncated]"))
            .collect();
        assert!(!rows.is_empty());
        assert!(
            rows.iter()
                .all(|row| row.stack.iter().filter(|it| it.starts_with("xxx")).count() == 256)
        );
        assert!(
            rows.iter()
                .all(|row| row.stack.iter().all(|name| name.len() < 1024))
        );
        assert!(recorded.count("function_names_cut") > 0);
    }
}

/// A list of threads without end is not followed for ever.
#[test]
fn endless_threads() {
    if let Some(recorded) = beside_an_honest_process("threads") {
        assert!(
            recorded.count_of("stacks_incomplete", "python_too_many_threads") > 100,
            "{}",
            recorded.ended.stdout
        );
    }
}

/// A library that comes and goes is looked at less and less often.
#[test]
fn mapped_and_unmapped() {
    // More notices come than anybody takes: what they cost is bounded, and asserted for every case.
    if let Some(recorded) = beside_an_honest_process("mapping") {
        assert_eq!(recorded.count_of("process_notices_lost", "agent_busy"), 0);
    }
}

/// CPU time of a process, in clock ticks.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // User and system time are fields 14 and 15; what follows the command begins with field 3.
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
    let times = fields.skip(11).take(2);
    times.map(|field| field.parse::<u64>().unwrap()).sum()
}

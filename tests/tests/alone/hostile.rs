//! Processes that lie about the Python in them: bounded time, bounded memory, a loss with a name, and
//! nothing lost of the others.

use std::{
    fmt::Write as _,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use profiler::targets::elf::{Elf, OpenFile};
use tests::{
    compile::{compile, compile_all},
    matrix::{self, Cell},
    process::Running,
    sampling::at_least,
    spanprof::{Recorded, Recording},
};

/// CPU time of the honest process, of which the agent may miss so much before it knows the process.
const SECONDS: f64 = 3.0;
const MOST_MISSED: f64 = 0.3;
const FREQUENCY: f64 = 499.0;
/// The most CPU time that a recording may have used, as a share of what the honest process has used, on a machine that
/// is as slow for both. For as much time, 3000 samples are taken of the two.
const MOST_USED: f64 = 0.5;
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

/// Records the host with a process on it that lies in some way about its Python, and an honest one.
fn beside_an_honest_process(how: &str) -> Option<Recorded> {
    let (cell, library) = victim()?;
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("hostile");
    compile("hostile.c", &program, &[]);
    let mut command = Command::new(&program);
    command.arg(how).arg(library).arg("3");
    Some(record(how, &cell, &mut command))
}

/// Records the host with a hostile process and an honest one on it.
fn record(how: &str, cell: &Cell, hostile: &mut Command) -> Recorded {
    let recording = Recording::start(&["--frequency", &FREQUENCY.to_string()]);
    let hostile = Running::start(hostile);
    let busy = cell.program("busy.py").display().to_string();
    let honest = Running::start(&mut cell.command(&[&busy, &SECONDS.to_string()]));
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
    let used = cpu(recording.pid());
    let recorded = recording.stop();
    let profile = &recorded.profile;
    let seconds = profile.seconds_of(|row| row.label("pid") == pid && row.is_in("busy"));
    eprintln!(
        "{how}: {seconds:.2} of the honest process's {SECONDS} s, {peak} KiB at most, {used:.2} s of CPU time"
    );
    assert!(used < MOST_USED * SECONDS, "{used} s of CPU time");
    let least = least(SECONDS - MOST_MISSED, &recorded);
    assert!(seconds > least, "{seconds} s, not {least}");
    recorded
}

/// The least time that is sampled of so many seconds of CPU time, in seconds.
fn least(seconds: f64, recorded: &Recorded) -> f64 {
    at_least(seconds, FREQUENCY, recorded.stolen) / FREQUENCY
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

/// A frame that calls itself is cut at the limit and says so, since the frames behind the innermost are not the outermost;
/// so is a name without end.
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
                .all(|row| row.stack.iter().filter(|it| it.starts_with("xxx")).count() == 192)
        );
        assert!(
            rows.iter()
                .all(|row| row.stack.iter().all(|name| name.len() < 1024))
        );
        assert!(recorded.count("function_names_cut") > 0);
    }
}

/// The agent gives up on a list of threads without an end.
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

/// The agent looks less and less often at a library that comes and goes.
#[test]
fn mapped_and_unmapped() {
    // More notices come than anybody takes: what they cost is bounded, and asserted for every case.
    if let Some(recorded) = beside_an_honest_process("mapping") {
        assert_eq!(recorded.count_of("process_notices_lost", "agent_busy"), 0);
    }
}

/// A library with two functions, and many more whose names are megabytes behind all of its code; and at which byte
/// of the file those begin.
fn library(folder: &Path) -> (PathBuf, u64) {
    let mut source = String::new();
    for name in ["work_before", "work_after"] {
        writeln!(
            source,
            "unsigned {name}(unsigned n) {{ unsigned it = n; while (n--) it = it * 31 + n; return it; }}"
        )
        .unwrap();
    }
    for number in 0..20_000 {
        writeln!(
            source,
            "__attribute__((used)) static int a_function_of_no_use_{number}(void) {{ return {number}; }}"
        )
        .unwrap();
    }
    let path = folder.join("library.c");
    fs::write(&path, source).unwrap();
    let library = folder.join("first.so");
    compile_all("cc", &[path], &library, &["-shared", "-fPIC", "-g0"]);
    let data = OpenFile::open(&library).unwrap().data();
    let elf = Elf::parse(&data).unwrap();
    let symbols = elf.symbol_sections()[0];
    let code = elf.segments().iter().map(|it| it.offset + it.size).max();
    let kept = symbols.symbols.0.next_multiple_of(4096);
    assert!(code.unwrap() <= kept && symbols.symbols.1 > 4 * 4096);
    (library, kept)
}

/// If a library is truncated while it is mapped, only names are lost. The agent must not map it: a process that maps
/// such a file dies of `SIGBUS` when it reads a page that is gone.
#[test]
fn truncated_files() {
    let Some((cell, _)) = victim() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let (first, kept) = library(folder.path());
    let second = folder.path().join("second.so");
    fs::copy(&first, &second).unwrap();
    let program = cell.program("truncated.py");
    let mut command = cell.command(&[&program.display().to_string()]);
    command.arg(first).arg(second).arg(kept.to_string());
    let recorded = record("truncated", &cell, &mut command);
    let seconds = |name: &str, file: &str| {
        let in_it =
            |it: &tests::profile::Frame| it.name.starts_with(name) && it.mapping.ends_with(file);
        recorded
            .profile
            .seconds_of(|row| row.frames.iter().any(in_it))
    };
    // Each works for a second; the start of the first one may be missed.
    let least = least(1.0 - MOST_MISSED, &recorded);
    // Its symbols were read while they were there.
    for name in ["work_before", "work_after"] {
        let time = seconds(name, "first.so");
        assert!(time > least, "{name}: {time}");
    }
    // The frames of the other one are gone: the sample has the file and the address in it instead of a name.
    let time = seconds("second.so+0x", "second.so");
    assert!(time > least, "{time}");
    let unnamed = recorded.count_of("frames_incomplete", "native_file_malformed");
    // A number of samples.
    let is_of_all = f64::from(u32::try_from(unnamed).unwrap()) > least * FREQUENCY;
    assert!(is_of_all, "{unnamed}: {}", recorded.ended.stdout);
}

/// CPU time of a process, in seconds.
fn cpu(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // User and system time are fields 14 and 15; what follows the command begins with field 3.
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
    let times = fields.skip(11).take(2);
    let ticks: u32 = times.map(|field| field.parse::<u32>().unwrap()).sum();
    f64::from(ticks) / 100.0
}

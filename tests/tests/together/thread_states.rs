//! Whose Python a thread is running, in programs that pass thread states between threads: each sample is compared
//! with the program's own record, and none may be wrong.
//!
//! All programs of a cell run side by side in one recording: some two hundred samples each, or two thousand if
//! `SPANPROF_FULL_COUNT=1` is in the environment of `cargo xtask test --all thread_states`.

use std::{collections::BTreeMap, env, io::Write as _};

use tests::{
    embedding::{self, Host, Linked, Verdict},
    matrix,
    profile::Row,
    python::Workload,
    sampling::at_least,
    spanprof::Recording,
};

const FREQUENCY: f64 = 999.0;
/// CPU time that a program uses: in a usual run, and in one of the full count.
const SECONDS: (f64, f64) = (0.2, 2.0);
/// The least share of it in which the program has recorded what it does.
const RECORDED: f64 = 0.6;

/// The Python functions that burn.
const BURNERS: [&str; 7] = [
    "burn_a",
    "burn_b",
    "burn_c",
    "burn_d",
    "burn_e",
    "burn_f",
    "burn_plain",
];

/// The first minor version on which nearly all that is taken with a state attached must be attributed: those before
/// do not say on which stack a state is.
const FIRST_WITH_ALL: u8 = 10;

/// Programs of `tests/programs/embedding`, and how much more CPU time they use, because much of it is not judged.
const PROGRAMS: &[(&str, f64)] = &[
    ("usual", 1.0),
    ("made", 1.0),
    ("pool", 1.0),
    ("churned", 1.0),
    ("moved", 1.0),
    ("tasks", 1.0),
    ("fibers", 1.0),
    ("nested", 1.0),
    ("interpreters", 1.5),
    ("subinterpreters", 2.0),
];

macro_rules! cells {
    ($($test:ident: $name:literal $linked:ident),* $(,)?) => {
        $(#[test]
        fn $test() {
            no_sample_is_wrong($name, Linked::$linked);
        })*
    };
}

cells!(
    of_3_8_host: "3.8-host" Shared,
    of_3_9_host: "3.9-host" Shared,
    of_3_10_host: "3.10-host" Shared,
    of_3_11_host: "3.11-host" Shared,
    of_3_12_host: "3.12-host" Shared,
    of_3_13_host: "3.13-host" Shared,
    of_3_14_host: "3.14-host" Shared,
    of_3_15_host: "3.15-host" Shared,
    of_3_9_debian: "3.9-debian" Stripped,
    of_3_9d_debian: "3.9d-debian" Shared,
    of_3_11_debian: "3.11-debian" Stripped,
    of_3_11d_debian: "3.11d-debian" Static,
    of_3_13_debian: "3.13-debian" Stripped,
    of_3_13_debian_shared: "3.13-debian" Shared,
    of_3_14_debian: "3.14-debian" Shared,
    of_3_14_debian_static: "3.14-debian" Stripped,
    of_3_15_debian: "3.15-debian" Shared,
    of_3_15_debian_static: "3.15-debian" Stripped,
    of_3_15d_debian: "3.15d-debian" Static,
    of_3_13t: "3.13t" Static,
    of_3_13_musl: "3.13-musl" Shared,
);

fn no_sample_is_wrong(name: &str, linked: Linked) {
    let Some(cell) = matrix::cell(name) else {
        return;
    };
    let host = match Host::build(&cell, linked) {
        Ok(host) => host,
        Err(why) => return tests::skip(&format!("CPython {name} cannot be embedded: {why}")),
    };
    let mut programs = Vec::new();
    for (program, more) in PROGRAMS {
        match host.lacks(program) {
            None => programs.push((*program, *more)),
            Some(why) => tell(&format!("{name} {linked:?} {program}: none, as {why}")),
        }
    }
    let is_full = env::var_os("SPANPROF_FULL_COUNT").is_some();
    let seconds = if is_full { SECONDS.1 } else { SECONDS.0 };
    let mut failed = Vec::new();
    let (verdicts, stolen) = run(&host, &programs, seconds);
    for (program, verdict) in verdicts {
        tell(&format!("{name} {linked:?} {program}: {verdict}"));
        let is_right = verdict.wrong() <= forgiven(cell.minor)
            && verdict.cpu() >= RECORDED * seconds
            && verdict.sampled() * verdict.cpu() * FREQUENCY
                >= at_least(verdict.cpu(), FREQUENCY, stolen)
            && (cell.minor < FIRST_WITH_ALL
                || verdict.attached.lacks() <= lacking(verdict.attached.all(), is_full));
        if !is_right {
            failed.push(format!("{program}: {verdict}"));
        }
    }
    assert!(failed.is_empty(), "{name}: {failed:#?}");
}

/// Prints around libtest's capture of output: the log of a run shows it.
fn tell(line: &str) {
    let line = format!("{line}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// The first minor version with a thread-local for the state that a thread has attached.
const FIRST_THAT_TELLS: u8 = 12;

/// How many samples of a program may be wrong: none from 3.12 on, one before. One is wrong if a state changes hands in
/// that instant, and before 3.10 if the address of another thread's frame was left on the stack: one in some hundred
/// thousand, by chance (`docs/right-span.md`).
fn forgiven(minor: u8) -> u64 {
    u64::from(minor < FIRST_THAT_TELLS)
}

/// How many samples may lack what they should have: one in a hundred, and four if there are few.
fn lacking(samples: u64, is_full: bool) -> u64 {
    let usual = samples / 100;
    if is_full { usual } else { usual.max(4) }
}

/// Runs programs at the same time; a verdict for each, and the seconds that the host has taken meanwhile.
fn run<'a>(
    host: &Host,
    programs: &[(&'a str, f64)],
    seconds: f64,
) -> (Vec<(&'a str, Verdict)>, f64) {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("records");
    let mut workloads: Vec<Workload> = programs
        .iter()
        .map(|(name, more)| host.start(name, seconds * more))
        .collect();
    let frequency = FREQUENCY.to_string();
    let mut arguments = vec!["--frequency", &frequency];
    arguments.extend(["--keep-records", kept.to_str().unwrap()]);
    let pids: Vec<String> = workloads.iter().map(Workload::pid).collect();
    arguments.extend(pids.iter().flat_map(|pid| ["--pid", pid]));
    let recording = Recording::start(&arguments);
    for workload in &mut workloads {
        workload.begin();
    }
    let mut truths = BTreeMap::new();
    let mut by_pid = Vec::new();
    for (workload, (name, _)) in workloads.into_iter().zip(programs) {
        let pid = workload.running.pid();
        let ended = workload.running.wait();
        assert!(ended.status.success(), "{name}: {ended:#?}");
        truths.insert(pid, host.record(name));
        by_pid.push((pid, *name));
    }
    let recorded = recording.stop();
    assert_rows_agree(&recorded.profile.rows);
    let mut verdicts = embedding::judge(&truths, &kept, recorded.profile.period);
    let verdicts = by_pid
        .into_iter()
        .map(|(pid, name)| (name, verdicts.remove(&pid).unwrap_or_default()));
    (verdicts.collect(), recorded.stolen)
}

/// The stack and the span of a row belong to one thread: a function that burns CPU has the span of its name, or none.
fn assert_rows_agree(rows: &[Row]) {
    let mut agreed = 0;
    for row in rows {
        let mut functions = row.stack.iter().filter_map(|it| it.rsplit('.').next());
        let Some(burner) = functions.find(|it| BURNERS.contains(it)) else {
            continue;
        };
        let span = row.label("active_span_name");
        assert!(
            span.is_empty() || burner == format!("burn_{span}"),
            "{row:#?}"
        );
        agreed += usize::from(!span.is_empty());
    }
    assert!(agreed > BURNERS.len(), "{agreed} rows with a span");
}

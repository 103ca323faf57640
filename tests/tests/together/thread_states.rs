//! Whose Python a thread is running, in programs that hand thread states about: each sample is judged by the
//! program's own record, and none may be wrong.
//!
//! All programs of a cell run side by side in one recording. They take some hundred samples each; with
//! `SPANPROF_FULL_COUNT=1` some thousand.

use std::{collections::BTreeMap, env, io::Write as _};

use tests::{
    embedding::{self, Host, Linked, Verdict},
    matrix,
    python::Workload,
    spanprof::Recording,
};

const FREQUENCY: &str = "999";
/// How long each program works: in a usual run, and in one of the full count.
const SECONDS: (f64, f64) = (1.5, 8.0);
/// The fewest samples of a program, in either.
const AT_LEAST: (u64, u64) = (100, 1_000);

/// Programs of `tests/programs/embedding`.
const PROGRAMS: &[&str] = &["made", "tasks"];

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
);

fn no_sample_is_wrong(name: &str, linked: Linked) {
    let Some(cell) = matrix::cell(name) else {
        return;
    };
    let host = match Host::build(&cell, linked) {
        Ok(host) => host,
        Err(why) => return tests::skip(&format!("{name} cannot be embedded: {why}")),
    };
    let is_full = env::var_os("SPANPROF_FULL_COUNT").is_some();
    let choose = |(usual, full)| if is_full { full } else { usual };
    let verdicts = run(&host, choose(SECONDS));
    let at_least = if is_full { AT_LEAST.1 } else { AT_LEAST.0 };
    let mut failed = Vec::new();
    for (program, verdict) in PROGRAMS.iter().zip(verdicts) {
        let line = format!("{name} {linked:?} {program}: {verdict}\n");
        // Past the capture of output: the log of a run shows it.
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        let is_right = verdict.wrong() == 0
            && verdict.all() >= at_least
            && (cell.minor < 10 || verdict.attached.attributed() >= 99.0);
        if !is_right {
            failed.push(program);
        }
    }
    assert!(failed.is_empty(), "{name}: {failed:?}");
}

/// Runs all programs at the same time; a verdict for each.
fn run(host: &Host, seconds: f64) -> Vec<Verdict> {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("records");
    let mut workloads: Vec<Workload> = PROGRAMS
        .iter()
        .map(|name| host.start(name, seconds))
        .collect();
    let mut arguments = vec!["--frequency", FREQUENCY];
    arguments.extend(["--keep-records", kept.to_str().unwrap()]);
    let pids: Vec<String> = workloads.iter().map(Workload::pid).collect();
    arguments.extend(pids.iter().flat_map(|pid| ["--pid", pid]));
    let recording = Recording::start(&arguments);
    for workload in &mut workloads {
        workload.begin();
    }
    for workload in &workloads {
        workload.facts("done");
    }
    recording.stop();
    let pids = workloads.iter().map(|it| it.running.pid());
    let truths: BTreeMap<u32, _> = pids
        .zip(PROGRAMS)
        .map(|(pid, name)| (pid, host.record(name)))
        .collect();
    let mut verdicts = embedding::judge(&truths, &kept);
    let mut verdict = |workload: &Workload| verdicts.remove(&workload.running.pid());
    workloads
        .iter()
        .map(|it| verdict(it).unwrap_or_default())
        .collect()
}

//! What one sample costs in the BPF program, by the kernel's own run-time statistics.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::Bench;
use super::report::{Figure, Report};
use super::spanprof::Spanprof;
use super::workload::Workload;
use crate::interpreter;

const FREQUENCY: u32 = 999;
/// The sampled program has the first CPU, the agent the second.
const CPU: usize = 0;
/// A stack as they mostly are, and a deep one.
const COMMON: u32 = 30;
const DEEP: u32 = 120;
/// What a sample of a common stack reads before 3.13: each code object, 128 bytes or so, and the frames and the
/// state of the thread in 8 times.
const READS: [&str; 2] = ["38", "128"];
/// Where code objects are read again in each sample.
const READ_AGAIN: [&str; 3] = ["3.10", "3.11", "3.12"];

struct Case {
    version: &'static str,
    depth: u32,
    python: PathBuf,
    nanoseconds: Vec<f64>,
}

pub(super) fn measure(bench: &Bench) -> Result<Report> {
    let mut notes = vec![
        "nanoseconds of a run in a round, by the kernel's statistics \
         (`kernel.bpf_stats_enabled`), the median of the means of slices of 50 ms, of samples of a CPU-bound program; runs on other programs \
         are taken out by their count and their own cost; the interrupt around the program is not \
         in it"
            .to_owned(),
    ];
    let mut cases = Vec::new();
    let interpreters = interpreter::find();
    for (version, depth) in [
        ("3.12", 5),
        ("3.12", 30),
        ("3.12", 120),
        ("3.10", 30),
        ("3.11", 30),
        ("3.13", 5),
        ("3.13", 30),
        ("3.13", 120),
    ] {
        match interpreters.get(version) {
            Some(python) => cases.push(Case {
                version,
                depth,
                python: python.clone(),
                nanoseconds: Vec::new(),
            }),
            None => notes.push(format!("CPython {version}, depth {depth}: not found here")),
        }
    }
    let python = &cases.first().context("found no supported CPython")?.python;
    let mut bare = Workload::start(python, &bench.program("reads.py"), &READS, Some(CPU))?;
    let (mut elsewhere, mut reads) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds(7, 2) {
        let other = elsewhere_cost(bench, &cases)?;
        elsewhere.push(other);
        for case in &mut cases {
            case.nanoseconds.push(sample_cost(bench, case, other)?);
        }
        let took = bare.ask(if bench.quick { 2 } else { 4 })?;
        reads.push(took.as_f64().context("the reads were not timed")?);
    }
    let by_reads = by_reads(&cases, &reads);
    let mut per_frame = Vec::new();
    for deep in cases.iter().filter(|case| case.depth == DEEP) {
        let same = |it: &&Case| it.version == deep.version && it.depth == COMMON;
        if let Some(common) = cases.iter().find(same) {
            let pairs = deep.nanoseconds.iter().zip(&common.nanoseconds);
            let frames = f64::from(DEEP - COMMON);
            let values = pairs
                .map(|(deep, common)| (deep - common) / frames)
                .collect();
            let name = format!("CPython {}, one frame more", deep.version);
            per_frame.push(Figure::new(name, "ns", values).below(100.0));
        }
    }
    let mut figures: Vec<Figure> = cases
        .into_iter()
        .map(|case| {
            let name = format!("CPython {}, {} Python frames", case.version, case.depth);
            let figure = Figure::new(name, "ns", case.nanoseconds);
            if case.depth == COMMON {
                figure.below(5000.0)
            } else {
                figure
            }
        })
        .collect();
    figures.extend(per_frame);
    figures.push(Figure::new("no process of interest", "ns", elsewhere));
    let [count, size] = READS;
    let name = format!("a program of {count} bare reads, of {size} bytes each");
    figures.push(Figure::new(name, "ns", reads));
    figures.extend(by_reads);
    Ok(Report {
        name: "sample-cost",
        figures,
        notes,
    })
}

/// What common stacks take by as many bare reads, of each round.
fn by_reads(cases: &[Case], reads: &[f64]) -> Vec<Figure> {
    let common = cases.iter().filter(|case| case.depth == COMMON);
    let common = common.filter(|case| READ_AGAIN.contains(&case.version));
    let ratio = |case: &Case| {
        let pairs = case.nanoseconds.iter().zip(reads);
        let name = format!(
            "CPython {}, {COMMON} Python frames, by the bare reads",
            case.version
        );
        Figure::new(name, "", pairs.map(|(run, reads)| run / reads).collect()).below(2.0)
    };
    common.map(ratio).collect()
}

/// A run that hits nothing of interest: the only process asked for sleeps.
fn elsewhere_cost(bench: &Bench, cases: &[Case]) -> Result<f64> {
    let case = cases.first().context("found no supported CPython")?;
    let program = bench.program("throughput.py");
    let sleeper = Workload::start(&case.python, &program, &[], Some(CPU))?;
    Ok(record(bench, &sleeper)?.0)
}

fn sample_cost(bench: &Bench, case: &Case, elsewhere: f64) -> Result<f64> {
    let program = bench.program("spin.py");
    let depth = case.depth.to_string();
    let spinning = Workload::start(&case.python, &program, &[&depth], Some(CPU))?;
    let (run, taken) = record(bench, &spinning)?;
    Ok((run - (1.0 - taken) * elsewhere) / taken)
}

/// Records for a while; nanoseconds of the sampling program's runs, and which share of them took a
/// sample.
fn record(bench: &Bench, workload: &Workload) -> Result<(f64, f64)> {
    let folder = bench.workspace.target.join("bench");
    let agent = Spanprof::record(&bench.agent, &folder, &[workload.id()], FREQUENCY)?;
    let duration = Duration::from_secs(if bench.quick { 2 } else { 4 });
    let run = agent.sample_nanoseconds(duration)?;
    let counters = agent.stop()?;
    let count = |name: &str| counters.get(name).copied().unwrap_or(0.0);
    let taken = count("samples_taken");
    let share = taken / (taken + count("samples_elsewhere") + count("samples_idle"));
    Ok((run, share))
}

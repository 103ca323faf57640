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
    let mut elsewhere = Vec::new();
    for _ in 0..bench.rounds(7, 2) {
        let other = elsewhere_cost(bench, &cases)?;
        elsewhere.push(other);
        for case in &mut cases {
            case.nanoseconds.push(sample_cost(bench, case, other)?);
        }
    }
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
    Ok(Report {
        name: "sample-cost",
        figures,
        notes,
    })
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

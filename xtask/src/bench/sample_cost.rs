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
const FOUR_THREADS: [&str; 1] = ["threads"];
/// Where nobody counts code objects each is read in each sample: how often a sample of a common stack reads, and
/// how many bytes mostly. The state of the thread and what is below the frames take five reads; 3.10 reads each
/// frame, 3.11 a thousand bytes of them at once.
const READS: [(&str, &str, &str); 2] = [("3.10", "65", "88"), ("3.11", "39", "72")];

struct Case {
    version: &'static str,
    depth: u32,
    /// More arguments of the program.
    place: &'static [&'static str],
    python: PathBuf,
    nanoseconds: Vec<f64>,
}

impl Case {
    /// Where, for its name.
    fn place_name(&self) -> &'static str {
        if self.place == FOUR_THREADS {
            ", in 4 threads"
        } else {
            ""
        }
    }
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
    for (version, depth, place) in [
        ("3.12", 5, [].as_slice()),
        ("3.12", COMMON, &[]),
        ("3.12", DEEP, &[]),
        ("3.12", COMMON, &FOUR_THREADS),
        ("3.12", DEEP, &FOUR_THREADS),
        ("3.10", COMMON, &[]),
        ("3.11", COMMON, &[]),
        ("3.13", 5, &[]),
        ("3.13", COMMON, &[]),
        ("3.13", DEEP, &[]),
    ] {
        match interpreters.get(version) {
            Some(python) => cases.push(Case {
                version,
                depth,
                place,
                python: python.clone(),
                nanoseconds: Vec::new(),
            }),
            None => notes.push(format!("CPython {version}, depth {depth}: not found here")),
        }
    }
    let mut bare = Bare::all(bench, &cases)?;
    let mut elsewhere = Vec::new();
    for _ in 0..bench.rounds(7, 2) {
        let other = elsewhere_cost(bench, &cases)?;
        elsewhere.push(other);
        for case in &mut cases {
            case.nanoseconds.push(sample_cost(bench, case, other)?);
        }
        for bare in &mut bare {
            let took = bare.program.ask(if bench.quick { 2 } else { 4 })?;
            let took = took.as_f64().context("the reads were not timed")?;
            bare.nanoseconds.push(took);
        }
    }
    let by_reads = by_reads(&cases, bare);
    let mut per_frame = Vec::new();
    for deep in cases.iter().filter(|case| case.depth == DEEP) {
        let same =
            |it: &&Case| (it.version, it.place, it.depth) == (deep.version, deep.place, COMMON);
        if let Some(common) = cases.iter().find(same) {
            let pairs = deep.nanoseconds.iter().zip(&common.nanoseconds);
            let frames = f64::from(DEEP - COMMON);
            let values = pairs
                .map(|(deep, common)| (deep - common) / frames)
                .collect();
            let name = format!(
                "CPython {}, one frame more{}",
                deep.version,
                deep.place_name()
            );
            per_frame.push(Figure::new(name, "ns", values).below(100.0));
        }
    }
    let mut figures: Vec<Figure> = cases
        .into_iter()
        .map(|case| {
            let (version, depth) = (case.version, case.depth);
            let name = format!(
                "CPython {version}, {depth} Python frames{}",
                case.place_name()
            );
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
    figures.extend(by_reads);
    Ok(Report {
        name: "sample-cost",
        figures,
        notes,
    })
}

/// A program that does nothing but read as often as a sample.
struct Bare {
    version: &'static str,
    count: &'static str,
    size: &'static str,
    program: Workload,
    nanoseconds: Vec<f64>,
}

impl Bare {
    fn all(bench: &Bench, cases: &[Case]) -> Result<Vec<Self>> {
        let case = cases.first().context("found no supported CPython")?;
        let program = bench.program("reads.py");
        READS
            .into_iter()
            .map(|(version, count, size)| {
                Ok(Self {
                    version,
                    count,
                    size,
                    program: Workload::start(&case.python, &program, &[count, size], Some(CPU))?,
                    nanoseconds: Vec::new(),
                })
            })
            .collect()
    }
}

/// What bare reads take, and common stacks by as many of them, of each round.
fn by_reads(cases: &[Case], bare: Vec<Bare>) -> Vec<Figure> {
    let mut figures = Vec::new();
    for bare in bare {
        let case = cases
            .iter()
            .find(|case| (case.version, case.depth) == (bare.version, COMMON));
        if let Some(case) = case {
            let pairs = case.nanoseconds.iter().zip(&bare.nanoseconds);
            let ratio = pairs.map(|(run, reads)| run / reads).collect();
            let (version, count, size) = (bare.version, bare.count, bare.size);
            let name = format!("a program of {count} bare reads, of {size} bytes each");
            figures.push(Figure::new(name, "ns", bare.nanoseconds));
            let name = format!("CPython {version}, {COMMON} Python frames, by those reads");
            figures.push(Figure::new(name, "", ratio).below(2.0));
        }
    }
    figures
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
    let arguments: Vec<&str> = std::iter::once(&*depth)
        .chain(case.place.iter().copied())
        .collect();
    let spinning = Workload::start(&case.python, &program, &arguments, Some(CPU))?;
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

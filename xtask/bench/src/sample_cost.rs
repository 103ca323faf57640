//! The cost of one sample in the BPF program, by the kernel's own run-time statistics.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::Bench;
use crate::report::{Figure, Report};
use crate::spanprof::Spanprof;
use crate::stages::Stages;
use crate::workload::Workload;
use launcher::interpreter;

const FREQUENCY: u32 = 999;
/// The sampled program runs on the first CPU, the agent on the second.
const CPU: usize = 0;
/// The depths of a typical stack and of a deep one.
const COMMON: u32 = 30;
const DEEP: u32 = 120;
/// That of a stack of which a sample keeps a part. Each frame is of a function of its own, which is the worst case: in a
/// recursion they share a few.
const VERY_DEEP: u32 = 1000;
const FOUR_THREADS: [&str; 1] = ["threads"];
const FOUR_INTERPRETERS: [&str; 1] = ["interpreters"];
/// How often a sample of a common stack reads, and how many bytes. First the reads besides frames: the thread's state
/// pointer, that state, in 3.11 and 3.12 what it points to, from 3.12 on the interpreter and its count of code objects.
/// Then frames, which lie in a page from 3.11 on, and before 3.12, which has no count, each code object.
const READS: [(&str, &[&str]); 4] = [
    ("3.10", &["1x8", "1x64", "30x104", "30x88"]),
    ("3.11", &["2x8", "1x64", "1x3200", "30x88"]),
    ("3.12", &["4x8", "1x256", "1x3400"]),
    ("3.13", &["3x8", "1x256", "1x3400"]),
];

/// The versions whose common stacks are timed stage by stage: one reads code objects in each sample, one does not.
const STAGED: [&str; 2] = ["3.11", "3.12"];

struct Case {
    version: &'static str,
    depth: u32,
    /// Further arguments of the program.
    place: &'static [&'static str],
    python: PathBuf,
    nanoseconds: Vec<f64>,
    /// How much more than with another agent, if there is one to compare with.
    more: Vec<f64>,
}

impl Case {
    /// A typical stack, of the only thread.
    fn is_common(&self) -> bool {
        self.depth == COMMON && self.place.is_empty()
    }

    /// How much more it may cost than with the agent of `--beside`, if it is compared with that, in nanoseconds.
    fn most_beside(&self) -> Option<f64> {
        if self.is_common() {
            Some(100.0)
        } else {
            (self.place == FOUR_INTERPRETERS).then_some(200.0)
        }
    }

    /// All cases that can be measured on this machine.
    fn all(notes: &mut Vec<String>) -> Vec<Self> {
        let mut cases = Vec::new();
        let interpreters = interpreter::find();
        for (version, depth, place) in [
            ("3.12", 5, [].as_slice()),
            ("3.12", COMMON, &[]),
            ("3.12", DEEP, &[]),
            ("3.12", VERY_DEEP, &[]),
            ("3.12", COMMON, &FOUR_THREADS),
            ("3.12", DEEP, &FOUR_THREADS),
            ("3.12", COMMON, &FOUR_INTERPRETERS),
            ("3.10", COMMON, &[]),
            ("3.10", DEEP, &[]),
            ("3.11", COMMON, &[]),
            ("3.11", DEEP, &[]),
            ("3.11", VERY_DEEP, &[]),
            ("3.13", 5, &[]),
            ("3.13", COMMON, &[]),
            ("3.13", DEEP, &[]),
            ("3.13", COMMON, &FOUR_INTERPRETERS),
        ] {
            match interpreters.get(version) {
                Some(python) => cases.push(Self {
                    version,
                    depth,
                    place,
                    python: python.clone(),
                    nanoseconds: Vec::new(),
                    more: Vec::new(),
                }),
                None => notes.push(format!("CPython {version}, depth {depth}: not found here")),
            }
        }
        cases
    }

    /// The case's suffix for its name.
    fn place_name(&self) -> &'static str {
        if self.place == FOUR_THREADS {
            ", in 4 threads"
        } else if self.place == FOUR_INTERPRETERS {
            ", in one of 4 interpreters"
        } else {
            ""
        }
    }
}

pub(crate) fn measure(bench: &Bench) -> Result<Report> {
    let mut notes = vec![
        "nanoseconds of a run in a round, by the kernel's statistics (`kernel.bpf_stats_enabled`), the median of the \
         means of slices of 50 ms, of samples of a CPU-bound program; runs on other programs are subtracted by their \
         count and their own cost; the interrupt around the program is not included"
            .to_owned(),
        "more than by the agent of --beside: both agents record the same process at the same time, so that what slows the \
         machine down slows down both"
            .to_owned(),
        "the reads alone: beside it, a program that only makes as many reads of user memory as a sample does, of as \
         many bytes"
            .to_owned(),
        "stages: means of all samples, by `spanprof record --time-stages`, each less one reading of its clock; entering \
         the program and finding the process comes before the first"
            .to_owned(),
    ];
    let mut cases = Case::all(&mut notes);
    let mut bare = Bare::all(bench, &cases)?;
    let mut elsewhere = Vec::new();
    let mut stages = Vec::new();
    for case in cases.iter().filter(|case| case.is_common()) {
        if STAGED.contains(&case.version) {
            let of = format!("CPython {}, {COMMON} Python frames", case.version);
            stages.push((case.version, Stages::new(of)));
        }
    }
    for _ in 0..bench.rounds(7, 2) {
        let other = elsewhere_cost(bench, &cases)?;
        elsewhere.push(other);
        for case in &mut cases {
            case.nanoseconds.push(sample_cost(bench, case, other)?);
            if let Some(agent) = bench
                .beside
                .as_ref()
                .filter(|_| case.most_beside().is_some())
            {
                case.more.push(more_beside(bench, agent, case, other)?);
            }
            if let Some((_, stages)) = stages
                .iter_mut()
                .find(|(version, _)| case.is_common() && *version == case.version)
            {
                stages.measure(bench, &spin(bench, case)?, FREQUENCY)?;
            }
        }
        for bare in &mut bare {
            let took = bare.program.ask(if bench.quick { 2 } else { 4 })?;
            let took = took.as_f64().context("the reads were not timed")?;
            bare.nanoseconds.push(took);
        }
    }
    let by_reads = by_reads(&cases, bare);
    let per_frame = per_frame(&cases);
    let more = more(&cases);
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
    figures.extend(more);
    figures.push(Figure::new("no process of interest", "ns", elsewhere));
    figures.extend(by_reads);
    figures.extend(stages.into_iter().flat_map(|(_, stages)| stages.figures()));
    Ok(Report {
        name: "sample-cost",
        figures,
        notes,
    })
}

/// The cost of one more frame, between common stacks and deep ones, for each round.
fn per_frame(cases: &[Case]) -> Vec<Figure> {
    let mut per_frame = Vec::new();
    for deep in cases {
        let (depth, beyond) = match deep.depth {
            DEEP => (COMMON, ""),
            VERY_DEEP => (DEEP, " beyond 120"),
            _ => continue,
        };
        let same =
            |it: &&Case| (it.version, it.place, it.depth) == (deep.version, deep.place, depth);
        if let Some(less) = cases.iter().find(same) {
            let pairs = deep.nanoseconds.iter().zip(&less.nanoseconds);
            let frames = f64::from(deep.depth - depth);
            let values = pairs.map(|(deep, less)| (deep - less) / frames).collect();
            let name = format!(
                "CPython {}, one frame more{beyond}{}",
                deep.version,
                deep.place_name()
            );
            per_frame.push(Figure::new(name, "ns", values).below(100.0));
        }
    }
    per_frame
}

/// How much more several interpreters cost than one, and this agent than the one to compare with, for each round.
fn more(cases: &[Case]) -> Vec<Figure> {
    let difference =
        |of: &[f64], than: &[f64]| of.iter().zip(than).map(|(of, than)| of - than).collect();
    let mut more = Vec::new();
    for several in cases.iter().filter(|case| case.place == FOUR_INTERPRETERS) {
        let one = |it: &&Case| it.is_common() && it.version == several.version;
        if let Some(one) = cases.iter().find(one) {
            let name = format!(
                "CPython {}, one of 4 interpreters, more than alone",
                several.version
            );
            let values = difference(&several.nanoseconds, &one.nanoseconds);
            more.push(Figure::new(name, "ns", values));
        }
    }
    for case in cases.iter().filter(|case| !case.more.is_empty()) {
        let name = format!(
            "CPython {}, {COMMON} Python frames{}, more than by the agent of --beside",
            case.version,
            case.place_name()
        );
        let figure = Figure::new(name, "ns", case.more.clone());
        more.push(match case.most_beside() {
            Some(most) => figure.below(most),
            None => figure,
        });
    }
    more
}

/// A program that only reads, as often as a sample.
struct Bare {
    version: &'static str,
    reads: &'static [&'static str],
    program: Workload,
    nanoseconds: Vec<f64>,
}

impl Bare {
    fn all(bench: &Bench, cases: &[Case]) -> Result<Vec<Self>> {
        let case = cases.first().context("found no supported CPython")?;
        let program = bench.program("reads.py");
        READS
            .into_iter()
            .map(|(version, reads)| {
                Ok(Self {
                    version,
                    reads,
                    program: Workload::start(&case.python, &program, reads, Some(CPU))?,
                    nanoseconds: Vec::new(),
                })
            })
            .collect()
    }
}

/// The cost of bare reads, and of common stacks relative to as many reads, for each round.
fn by_reads(cases: &[Case], bare: Vec<Bare>) -> Vec<Figure> {
    let mut figures = Vec::new();
    for bare in bare {
        let case = cases
            .iter()
            .find(|case| case.is_common() && case.version == bare.version);
        if let Some(case) = case {
            let pairs = case.nanoseconds.iter().zip(&bare.nanoseconds);
            let ratio = pairs.map(|(run, reads)| run / reads).collect();
            let version = bare.version;
            let reads = bare.reads.join(" + ");
            let name = format!(
                "CPython {version}, {COMMON} Python frames, the reads alone: {reads} bytes"
            );
            figures.push(Figure::new(name, "ns", bare.nanoseconds));
            let name = format!("CPython {version}, {COMMON} Python frames, by its reads");
            figures.push(Figure::new(name, "", ratio).below(2.0));
        }
    }
    figures
}

/// A run in which no sample hits the requested process, because it sleeps.
fn elsewhere_cost(bench: &Bench, cases: &[Case]) -> Result<f64> {
    let case = cases.first().context("found no supported CPython")?;
    let program = bench.program("throughput.py");
    let sleeper = Workload::start(&case.python, &program, &[], Some(CPU))?;
    Ok(record(bench, &bench.agent, &sleeper)?.0)
}

/// Starts the program of a case.
fn spin(bench: &Bench, case: &Case) -> Result<Workload> {
    let program = bench.program("spin.py");
    let depth = case.depth.to_string();
    let arguments: Vec<&str> = std::iter::once(&*depth)
        .chain(case.place.iter().copied())
        .collect();
    Workload::start(&case.python, &program, &arguments, Some(CPU))
}

fn sample_cost(bench: &Bench, case: &Case, elsewhere: f64) -> Result<f64> {
    let run = record(bench, &bench.agent, &spin(bench, case)?)?;
    Ok(without(run, elsewhere))
}

/// How much more a sample costs than with another agent. Both record the same process at the same time, since the machine
/// may be slower for one than for the other if they take turns.
fn more_beside(bench: &Bench, beside: &Path, case: &Case, elsewhere: f64) -> Result<f64> {
    let workload = spin(bench, case)?;
    let (now, before) = thread::scope(|scope| {
        let beside = scope.spawn(|| record(bench, beside, &workload));
        let now = record(bench, &bench.agent, &workload);
        (now, beside.join())
    });
    let Ok(before) = before else {
        bail!("the other agent was not measured");
    };
    Ok(without(now?, elsewhere) - without(before?, elsewhere))
}

/// The cost of a sample: that of a run, without the runs that took none.
fn without((run, taken): (f64, f64), elsewhere: f64) -> f64 {
    (run - (1.0 - taken) * elsewhere) / taken
}

/// Counts of runs that took no sample, by all names that they have had.
const NOT_TAKEN: [&str; 4] = [
    r#"samples_skipped{reason="process_not_profiled"}"#,
    r#"samples_skipped{reason="cpu_idle"}"#,
    "samples_elsewhere",
    "samples_idle",
];

/// Records for a while; returns nanoseconds of the sampling program's runs, and the share of them that took a
/// sample.
fn record(bench: &Bench, agent: &Path, workload: &Workload) -> Result<(f64, f64)> {
    let name = if *agent == bench.agent {
        "bench"
    } else {
        "bench/beside"
    };
    let folder = bench.workspace.target.join(name);
    let agent = Spanprof::record(agent, &folder, &[workload.id()], FREQUENCY)?;
    let duration = Duration::from_secs(if bench.quick { 2 } else { 4 });
    let run = agent.sample_nanoseconds(duration)?;
    let counters = agent.stop()?;
    let count = |name: &str| counters.get(name).copied().unwrap_or(0.0);
    let taken = count("samples_taken");
    let not_taken: f64 = NOT_TAKEN.into_iter().map(count).sum();
    Ok((run, taken / (taken + not_taken)))
}

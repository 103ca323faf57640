//! Measures the cost of profilers, side by side in one run.
//!
//! The machine may be noisy, so no figure stands alone: the compared cases are measured in turns (A B A B …), and the
//! medians are published with their spread.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool: stdout carries results, stderr what it is doing"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "that clocks are read in one place is the agent's rule"
)]

mod against;
mod agent_cost;
mod agent_peers;
mod context_cost;
mod fdinfo;
mod host;
mod latency;
mod loss;
mod peers;
mod pipeline;
mod pprof;
mod push;
mod report;
mod sample_cost;
mod sink;
mod slowdown;
mod span_cost;
mod spanprof;
mod stages;
mod startup;
mod statistics;
mod stolen;
mod take_on;
mod truth;
mod workload;
mod wrong_span;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use clap::Parser as _;
use launcher::interpreter;
use xtask::build;
use xtask::command::{self, say};
use xtask::python::{self, Environment, Pip};
use xtask::workspace::Workspace;

use self::report::Report;

/// Measure what profiling costs, beside other profilers
///
/// Prints a table, and writes `target/bench/NAME.json`. Needs root: the kernel's statistics of BPF
/// programs are switched on while it runs. A quiet machine gives narrower spreads.
#[derive(clap::Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    /// Fewer and shorter rounds: to check that it works, not for publishing
    #[arg(long)]
    quick: bool,
    /// Only these benchmarks; may be given several times
    #[arg(long, value_enum)]
    only: Vec<Name>,
    /// Write the tables to docs/performance.md
    #[arg(long)]
    update_docs: bool,
    /// Another `spanprof`, such as that of an earlier commit: sample-cost measures both at the same time
    #[arg(long, value_name = "FILE")]
    beside: Option<PathBuf>,
    /// Another `spanprof`, such as that of an earlier commit: each benchmark measures both in turn, several times, and
    /// prints for each figure how much larger it is now
    #[arg(long, value_name = "FILE", conflicts_with_all = ["beside", "update_docs"])]
    against: Option<PathBuf>,
}

/// A benchmark.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq)]
enum Name {
    /// Nanoseconds of the sampling program by depth of the stack and by CPython
    SampleCost,
    /// Nanoseconds that reading the current span adds to a sample, and the time to find out how
    ContextCost,
    /// Microseconds added to one span
    SpanCost,
    /// Time that a sample takes from the thread it hits, beside other profilers
    Stolen,
    /// Slowdown of a CPU-bound program, beside other profilers
    Slowdown,
    /// What requests to a web service notice, at a fixed rate and at saturation
    Latency,
    /// CPU and memory of the agent itself, beside other profilers
    Agent,
    /// CPU that the agent uses to take on new processes, and to have many of them
    TakeOn,
    /// Samples a second through the data plane on one core
    Pipeline,
    /// Time to the first sample with its span
    Startup,
    /// Losses at 999 Hz and 20 000 spans a second
    Loss,
    /// CPU time of functions and spans against the thread's own clock, beside other profilers
    Truth,
    /// Samples that are on the wrong span
    WrongSpan,
    /// How soon profiles of many services are stored, also after an outage, and what that costs
    Push,
}

/// The input of every benchmark.
struct Bench {
    workspace: Workspace,
    agent: PathBuf,
    /// An agent to compare with.
    beside: Option<PathBuf>,
    quick: bool,
}

impl Bench {
    /// One number for a published run, another for a quick one.
    fn rounds(&self, full: usize, quick: usize) -> usize {
        if self.quick { quick } else { full }
    }

    /// A file of `tests/benchmarks`.
    fn program(&self, name: &str) -> PathBuf {
        self.workspace.root.join("tests/benchmarks").join(name)
    }

    /// An interpreter with the package, the SDK and, if they can be installed, its peers; or the
    /// reason why they cannot.
    fn python_with_peers(&self) -> Result<(PathBuf, Option<String>)> {
        let interpreters = interpreter::find();
        let interpreter = interpreters
            .get("3.12")
            .or_else(|| interpreters.values().next_back())
            .context("found no supported CPython to measure on")?;
        let pip = Pip::ensure(&self.workspace)?;
        let (wheel, inputs) = python::ensure_wheel(&self.workspace, &pip)?;
        let packages = [wheel.display().to_string()];
        let own = self.program("requirements.txt");
        let with_peers = [own.clone(), self.program("requirements-peers.txt")];
        let environment = |requirements: &[PathBuf]| {
            Environment {
                folder: self.workspace.target.join("bench-venv"),
                interpreter,
                requirements,
                packages: &packages,
                inputs,
            }
            .ensure(&pip)
        };
        match environment(&with_peers) {
            Ok(python) => Ok((python, None)),
            Err(error) => Ok((environment(&[own])?, Some(format!("{error:#}")))),
        }
    }
}

fn main() -> ExitCode {
    xtask::finish(run(&Arguments::parse()))
}

fn run(arguments: &Arguments) -> Result<()> {
    if !command::is_root() {
        bail!("the benchmarks need root: they load BPF programs and switch on kernel statistics");
    }
    let workspace = Workspace::locate()?;
    let agent = build::agent(&workspace, "release")?;
    let bench = |agent: PathBuf| Bench {
        workspace: workspace.clone(),
        agent,
        beside: arguments.beside.clone(),
        quick: arguments.quick,
    };
    let before = arguments.against.clone().map(bench);
    let bench = bench(agent);
    let machine = host::machine();
    println!("{machine}");
    // On until the last benchmark has ended.
    let _statistics = host::BpfStatistics::switch_on()?;
    for (name, measure) in BENCHMARKS {
        if !arguments.only.is_empty() && !arguments.only.contains(&name) {
            continue;
        }
        let busy = host::CpuTimes::read()?;
        if let Some(before) = &before {
            let comparison = against::compare(name, measure, before, &bench, ROUNDS_AGAINST)?;
            if comparison.is_none() {
                say("this benchmark does not run the agent: nothing to compare");
            }
            say(&busy.until_now()?);
            continue;
        }
        let mut report = measure(&bench)?;
        report.notes.push(busy.until_now()?);
        if arguments.quick {
            let quick =
                "measured with `--quick`: fewer and shorter rounds than the command above makes";
            report.notes.push(quick.to_owned());
        }
        println!("\n{report}");
        let folder = bench.workspace.target.join("bench");
        report.write_json(&folder, &machine)?;
        if arguments.update_docs {
            update_docs(&bench.workspace.root, &report, &machine)?;
        }
    }
    Ok(())
}

fn update_docs(root: &Path, report: &Report, machine: &str) -> Result<()> {
    let path = root.join("docs/performance.md");
    report.write_docs(&path, machine)?;
    say(&format!(
        "wrote the table {} to {}",
        report.name,
        path.display()
    ));
    Ok(())
}

/// Times that each of two agents is measured.
const ROUNDS_AGAINST: usize = 3;

type Measure = fn(&Bench) -> Result<Report>;

const BENCHMARKS: [(Name, Measure); 14] = [
    (Name::SampleCost, sample_cost::measure),
    (Name::ContextCost, context_cost::measure),
    (Name::SpanCost, span_cost::measure),
    (Name::Stolen, stolen::measure),
    (Name::Slowdown, slowdown::measure),
    (Name::Latency, latency::measure),
    (Name::Agent, agent_cost::measure),
    (Name::TakeOn, take_on::measure),
    (Name::Pipeline, pipeline::measure),
    (Name::Startup, startup::measure),
    (Name::Loss, loss::measure),
    (Name::Truth, truth::measure),
    (Name::WrongSpan, wrong_span::measure),
    (Name::Push, push::measure),
];

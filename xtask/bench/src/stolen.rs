//! The time that a sample takes from the thread it hits, everything included.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::Bench;
use crate::peers::{self, InProcess, Peer};
use crate::report::{Figure, Report};
use crate::sink;
use crate::spanprof::Spanprof;
use crate::statistics::median;
use crate::workload::Workload;
use xtask::command;

const FREQUENCY: u32 = 999;
/// Threads of the process, all but one idle.
const THREADS: [u32; 2] = [1, 200];

/// One value per round.
#[derive(Clone, Default)]
struct Column {
    /// Microseconds a sample, in gaps up to 1.5 ms.
    stolen: Vec<f64>,
    /// Percent of the time, in longer ones.
    stopped: Vec<f64>,
}

impl Column {
    /// Adds the median of several turns of a round to the rounds.
    fn add_middle_of(&mut self, turns: &Self) {
        self.stolen.push(median(&turns.stolen));
        self.stopped.push(median(&turns.stopped));
    }
}

struct Taken {
    floor: Column,
    ours: Column,
    /// Nanoseconds of our program when it takes a sample.
    program: Vec<f64>,
    peers: Vec<Column>,
}

/// Nanoseconds in a second for which other programs had the CPU.
#[derive(Clone, Copy)]
struct Gaps {
    short: f64,
    long: f64,
}

pub(crate) fn measure(bench: &Bench) -> Result<Report> {
    let (python, lacking) = bench.python_with_peers()?;
    let folder = bench.workspace.target.join("bench");
    let library = folder.join("gaps.so");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("failed to create {}", folder.display()))?;
    let mut compiler = Command::new("cc");
    compiler
        .args([
            "-O1",
            "-fno-omit-frame-pointer",
            "-fno-optimize-sibling-calls",
        ])
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .arg(bench.program("gaps.c"));
    command::run(&mut compiler)?;
    let (peers, mut notes) = peers::find(&python);
    let within = InProcess::find(lacking.as_ref());
    notes.extend(lacking.map(|reason| format!("peers from PyPI are left out: {reason}")));
    let server = sink::start(false)?;
    let idle = Workload::start(&python, &bench.program("throughput.py"), &[], Some(0))?;
    let mut figures = Vec::new();
    for threads in THREADS {
        let arguments = [&*library.to_string_lossy(), &threads.to_string()].map(str::to_owned);
        let arguments = arguments.each_ref().map(String::as_str);
        let program = bench.program("gaps.py");
        let mut workload = Workload::start(&python, &program, &arguments, Some(0))?;
        let twin = |peer: &InProcess| {
            let environment = peer.environment(&server.url, FREQUENCY);
            Workload::start_in(&environment, &python, &program, &arguments, Some(0))
        };
        let others = Others {
            outside: &peers,
            within: &within,
            twin: &twin,
        };
        let taken = rounds(bench, &mut workload, idle.id(), &others)?;
        figures.extend(show(threads, &taken, &others.names()));
    }
    notes.push(format!(
        "gaps between 1 µs and 1.5 ms in a loop that reads the time stamp counter below 30 Python and 20 native frames, \
         with a profiler at {FREQUENCY} Hz minus without one, per sample due; longer gaps come from a profiler that \
         stops the process for its samples, and from noise of the machine; the floor is our program at the same clock \
         when it only finds that it need not sample the process: an interrupt of the kernel, and one lookup in a map"
    ));
    Ok(Report {
        name: "stolen",
        figures,
        notes,
    })
}

/// The other profilers.
struct Others<'a> {
    outside: &'a [Peer],
    within: &'a [InProcess],
    /// Starts the workload with one of them in the process.
    twin: &'a dyn Fn(&InProcess) -> Result<Workload>,
}

impl Others<'_> {
    fn names(&self) -> Vec<&str> {
        let outside = self.outside.iter().map(|peer| peer.name.as_str());
        let within = self.within.iter().map(|peer| peer.name.as_str());
        outside.chain(within).collect()
    }
}

fn rounds(bench: &Bench, workload: &mut Workload, idle: u32, others: &Others<'_>) -> Result<Taken> {
    let folder = bench.workspace.target.join("bench");
    let seconds = bench.rounds(2, 1);
    let mut taken = Taken {
        floor: Column::default(),
        ours: Column::default(),
        program: Vec::new(),
        peers: vec![Column::default(); others.names().len()],
    };
    let mut before = stolen(workload, seconds)?;
    for _ in 0..bench.rounds(4, 2) {
        let mut note =
            |column: &mut Column, workload: &mut Workload, sampled: Gaps| -> Result<()> {
                let after = stolen(workload, seconds)?;
                let short = sampled.short - f64::midpoint(before.short, after.short);
                let long = sampled.long - f64::midpoint(before.long, after.long);
                before = after;
                column.stolen.push(short / f64::from(FREQUENCY) / 1e3);
                column.stopped.push(100.0 * long / 1e9);
                Ok(())
            };
        let mut elsewhere = 0.0;
        let (mut floors, mut ours) = (Column::default(), Column::default());
        // The compared cases are measured in turns, until the difference stands out from the machine's noise.
        let turns = (0..bench.rounds(5, 1)).flat_map(|_| [idle, workload.id()]);
        for pid in turns.collect::<Vec<_>>() {
            let agent = Spanprof::record(&bench.agent, &folder, &[pid], FREQUENCY)?;
            let before = agent.sample_runs()?;
            let sampled = stolen(workload, seconds)?;
            let runs = agent.sample_runs()?;
            let run = (runs.nanoseconds - before.nanoseconds) / (runs.count - before.count);
            let counters = agent.stop()?;
            if pid == idle {
                elsewhere = run;
            } else {
                let count = |name: &str| counters.get(name).copied().unwrap_or(0.0);
                let hits = count("samples_taken");
                let share = hits
                    / (hits
                        + count(r#"samples_skipped{reason="process_not_profiled"}"#)
                        + count(r#"samples_skipped{reason="cpu_idle"}"#));
                taken
                    .program
                    .push((run - (1.0 - share) * elsewhere) / share);
            }
            let column = if pid == idle { &mut floors } else { &mut ours };
            note(column, workload, sampled)?;
        }
        taken.floor.add_middle_of(&floors);
        taken.ours.add_middle_of(&ours);
        let (outside, within) = taken.peers.split_at_mut(others.outside.len());
        for (peer, column) in others.outside.iter().zip(outside) {
            let sampling = peer.sample(workload.id(), FREQUENCY, &folder)?;
            let sampled = stolen(workload, seconds)?;
            drop(sampling);
            note(column, workload, sampled)?;
        }
        for (peer, column) in others.within.iter().zip(within) {
            let mut twin = (others.twin)(peer)?;
            let sampled = stolen(&mut twin, seconds)?;
            drop(twin);
            note(column, workload, sampled)?;
        }
    }
    Ok(taken)
}

fn stolen(workload: &mut Workload, seconds: usize) -> Result<Gaps> {
    let answer = workload.ask(seconds)?;
    let field = |name: &str| {
        let value = answer.get(name).and_then(Value::as_f64);
        value.with_context(|| format!("the program does not say what was {name}"))
    };
    let watched = field("watched")? / 1e9;
    Ok(Gaps {
        short: field("stolen")? / watched,
        long: field("stopped")? / watched,
    })
}

fn show(threads: u32, taken: &Taken, peers: &[&str]) -> Vec<Figure> {
    let name = |what: &str| match threads {
        1 => format!("1 thread: {what}"),
        _ => format!("{threads} threads: {what}"),
    };
    let mut figures = vec![Figure::new(
        name("the floor"),
        "µs a sample",
        taken.floor.stolen.clone(),
    )];
    let program = name("our program, by the kernel's statistics");
    figures.push(Figure::new(program, "ns", taken.program.clone()).below(6000.0));
    let mut show = |who: &str, column: &Column, bar: Option<f64>| {
        let pairs = column.stolen.iter().zip(&taken.floor.stolen);
        let ratio = pairs.map(|(value, floor)| value / floor).collect();
        let ratio = Figure::new(name(&format!("{who} relative to the floor")), "", ratio);
        figures.push(Figure::new(name(who), "µs a sample", column.stolen.clone()));
        figures.push(match bar {
            Some(bar) => ratio.below(bar),
            None => ratio,
        });
        let stopped = name(&format!("{who}, longer gaps"));
        figures.push(Figure::new(
            stopped,
            "% of the time",
            column.stopped.clone(),
        ));
    };
    show("spanprof", &taken.ours, Some(1.4));
    for (peer, column) in peers.iter().zip(&taken.peers) {
        show(peer, column, None);
    }
    figures
}

//! How much slower a CPU-bound program gets, beside other profilers.
//!
//! At 99 Hz the slowdown is too small for a wall clock. So it is measured at higher frequencies, divided by the
//! samples, and the value at 99 Hz is calculated from that.

use anyhow::{Context as _, Result};

use crate::Bench;
use crate::peers::{self, InProcess, Peer};
use crate::report::{Figure, Report};
use crate::sink;
use crate::spanprof::Spanprof;
use crate::statistics::quantile;
use crate::workload::{Workload, numbers};

const FREQUENCIES: [u32; 2] = [999, 4999];
/// The frequency for peers: py-spy accepts at most 1000.
const PEERS: u32 = 999;

pub(crate) fn measure(bench: &Bench) -> Result<Report> {
    let (python, lacking) = bench.python_with_peers()?;
    let mut workload = Workload::start(&python, &bench.program("throughput.py"), &[], Some(0))?;
    let folder = bench.workspace.target.join("bench");
    let batches = bench.rounds(60, 30);
    let (peers, mut notes) = peers::find(&python);
    let within = InProcess::find(lacking.as_ref());
    notes.extend(lacking.map(|reason| format!("peers from PyPI are left out: {reason}")));
    let server = sink::start(false)?;
    let mut losses = FREQUENCIES.map(|_| Vec::new());
    let mut others: Vec<(&Peer, Vec<f64>)> = peers.iter().map(|peer| (peer, Vec::new())).collect();
    let mut twins: Vec<(&InProcess, Vec<f64>)> =
        within.iter().map(|peer| (peer, Vec::new())).collect();
    let mut before = run(&mut workload, batches)?;
    for _ in 0..bench.rounds(9, 2) {
        for (frequency, losses) in FREQUENCIES.into_iter().zip(&mut losses) {
            let agent = Spanprof::record(&bench.agent, &folder, &[workload.id()], frequency)?;
            let sampled = run(&mut workload, batches)?;
            agent.stop()?;
            let after = run(&mut workload, batches)?;
            // Between two baselines, so that a drift of the machine cancels.
            losses.push(sampled / f64::midpoint(before, after) - 1.0);
            before = after;
        }
        for (peer, losses) in &mut others {
            let sampling = peer.sample(workload.id(), PEERS, &folder)?;
            let sampled = run(&mut workload, batches)?;
            drop(sampling);
            let after = run(&mut workload, batches)?;
            losses.push(sampled / f64::midpoint(before, after) - 1.0);
            before = after;
        }
        for (peer, losses) in &mut twins {
            let environment = peer.environment(&server.url, PEERS);
            let program = bench.program("throughput.py");
            let mut twin = Workload::start_in(&environment, &python, &program, &[], Some(0))?;
            let sampled = run(&mut twin, batches)?;
            drop(twin);
            let after = run(&mut workload, batches)?;
            losses.push(sampled / f64::midpoint(before, after) - 1.0);
            before = after;
        }
    }
    let mut figures = Vec::new();
    for (frequency, losses) in FREQUENCIES.into_iter().zip(losses) {
        let percent = |factor: f64| losses.iter().map(|loss| loss * factor).collect();
        let frequency_hz = f64::from(frequency);
        let more = Figure::new(format!("slowdown at {frequency} Hz"), "%", percent(100.0));
        figures.push(if frequency == PEERS {
            more.below(3.0)
        } else {
            more
        });
        figures.push(Figure::new(
            format!("one sample, from {frequency} Hz"),
            "µs",
            percent(1e6 / frequency_hz),
        ));
        figures.push(
            Figure::new(
                format!("slowdown at 99 Hz, from {frequency} Hz by arithmetic"),
                "%",
                percent(100.0 * 99.0 / frequency_hz),
            )
            .below(0.3),
        );
    }
    let others = others
        .into_iter()
        .map(|(peer, losses)| (&peer.name, losses));
    let twins = twins.into_iter().map(|(peer, losses)| (&peer.name, losses));
    for (name, losses) in others.chain(twins) {
        figures.push(Figure::new(
            format!("{name} at {PEERS} Hz"),
            "%",
            losses.iter().map(|loss| 100.0 * loss).collect(),
        ));
    }
    notes.push(
        "wall-clock time of constant work below 30 Python frames on one CPU, the profiler on the other: time in which a \
         debugger's interface stops the thread counts, and so does the kernel's interrupt; of each run the fastest \
         tenth of some sixty pieces counts, which noise of the machine hardly affects, and each value is measured \
         between two baselines"
            .to_owned(),
    );
    Ok(Report {
        name: "slowdown",
        figures,
        notes,
    })
}

/// Nanoseconds of a batch. The machine slows some batches, a profiler all of them: each batch is longer than the time
/// between two samples.
fn run(workload: &mut Workload, batches: usize) -> Result<f64> {
    let took = numbers(&workload.ask(batches)?);
    quantile(&took, 0.1).context("the program has timed nothing")
}

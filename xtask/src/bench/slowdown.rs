//! How much slower a CPU-bound program gets, beside other profilers.
//!
//! At 99 Hz no wall clock can tell. So the frequency is raised until the loss stands out, divided by
//! the samples, and what it is at 99 Hz is arithmetic.

use anyhow::Result;

use super::Bench;
use super::peers::{self, Peer};
use super::report::{Figure, Report};
use super::spanprof::Spanprof;
use super::statistics::median;
use super::workload::{Workload, numbers};

const FREQUENCIES: [u32; 2] = [999, 4999];
/// What peers are asked for: py-spy takes no more than 1000.
const PEERS: u32 = 999;

pub(super) fn measure(bench: &Bench) -> Result<Report> {
    let (python, lacking) = bench.python_with_peers()?;
    let mut workload = Workload::start(&python, &bench.program("throughput.py"), &[], Some(0))?;
    let folder = bench.workspace.target.join("bench");
    let batches = bench.rounds(60, 30);
    let (peers, mut notes) = peers::find(&python);
    notes.extend(lacking.map(|reason| format!("peers from PyPI are left out: {reason}")));
    let mut losses = FREQUENCIES.map(|_| Vec::new());
    let mut others: Vec<(&Peer, Vec<f64>)> = peers.iter().map(|peer| (peer, Vec::new())).collect();
    let mut before = run(&mut workload, batches)?;
    for _ in 0..bench.rounds(21, 2) {
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
    }
    let mut figures = Vec::new();
    for (frequency, losses) in FREQUENCIES.into_iter().zip(losses) {
        let percent = |factor: f64| losses.iter().map(|loss| loss * factor).collect();
        let frequency_hz = f64::from(frequency);
        let more = Figure::new(
            format!("more time for the same work at {frequency} Hz"),
            "%",
            percent(100.0),
        );
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
    for (peer, losses) in others {
        figures.push(Figure::new(
            format!("{} at {PEERS} Hz", peer.name),
            "%",
            losses.iter().map(|loss| 100.0 * loss).collect(),
        ));
    }
    notes.push(
        "wall-clock time of constant work below 30 Python frames on a CPU of its own, the profiler on the \
         other: what the thread is stopped for by a debugger's interface counts, and so does the kernel's \
         interrupt; each value lies between two baselines"
            .to_owned(),
    );
    Ok(Report {
        name: "slowdown",
        figures,
        notes,
    })
}

/// Nanoseconds of a batch: the median.
fn run(workload: &mut Workload, batches: usize) -> Result<f64> {
    Ok(median(&numbers(&workload.ask(batches)?)))
}

//! How much slower a CPU-bound program gets.
//!
//! At 99 Hz no wall clock can tell. So the frequency is raised until the loss stands out, divided by
//! the samples, and what it is at 99 Hz is arithmetic.

use anyhow::Result;

use super::Bench;
use super::report::{Figure, Report};
use super::spanprof::Spanprof;
use super::statistics::median;
use super::workload::{Workload, numbers};

const FREQUENCIES: [u32; 2] = [999, 4999];

pub(super) fn measure(bench: &Bench) -> Result<Report> {
    let (python, _) = bench.python_with_peers()?;
    let mut workload = Workload::start(&python, &bench.program("throughput.py"), &[], Some(0))?;
    let folder = bench.workspace.target.join("bench");
    let batches = bench.rounds(120, 30);
    let mut losses = FREQUENCIES.map(|_| Vec::new());
    for _ in 0..bench.rounds(9, 2) {
        for (frequency, losses) in FREQUENCIES.into_iter().zip(&mut losses) {
            let before = median(&numbers(&workload.ask(batches)?));
            let agent = Spanprof::record(&bench.agent, &folder, &[workload.id()], frequency)?;
            let sampled = median(&numbers(&workload.ask(batches)?));
            agent.stop()?;
            let after = median(&numbers(&workload.ask(batches)?));
            // Between two baselines, so that a drift of the machine cancels.
            losses.push(sampled / f64::midpoint(before, after) - 1.0);
        }
    }
    let mut figures = Vec::new();
    for (frequency, losses) in FREQUENCIES.into_iter().zip(losses) {
        let percent = |factor: f64| losses.iter().map(|loss| loss * factor).collect();
        let frequency_hz = f64::from(frequency);
        figures.push(Figure::new(
            format!("more CPU time for the same work at {frequency} Hz"),
            "%",
            percent(100.0),
        ));
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
            .below(1.0),
        );
    }
    Ok(Report {
        name: "slowdown",
        figures,
        notes: vec![
            "thread CPU time of constant work below 30 Python frames; it includes the interrupts \
             that hit the thread, and leaves out the time others had the CPU; a sample's cost is \
             the whole of it, the kernel's interrupt included"
                .to_owned(),
        ],
    })
}

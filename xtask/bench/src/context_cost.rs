//! The time that reading the current span adds to a sample, and the time to find out how to read it.

use std::time::Duration;

use anyhow::Result;

use crate::Bench;
use crate::report::{Figure, Report};
use crate::spanprof::Spanprof;
use crate::workload::Workload;

const FREQUENCY: u32 = 999;
const FRAMES: &str = "30";
/// The functions that the program spins in; the first is without OpenTelemetry.
const PLACES: [&[&str]; 3] = [&[FRAMES], &[FRAMES, "idle"], &[FRAMES, "span"]];

pub(crate) fn measure(bench: &Bench) -> Result<Report> {
    let (python, _) = bench.python_with_peers()?;
    let program = bench.program("spin.py");
    let folder = bench.workspace.target.join("bench");
    let mut nanoseconds = PLACES.map(|_| Vec::new());
    let mut looks = Vec::new();
    for _ in 0..bench.rounds(9, 3) {
        for (place, nanoseconds) in PLACES.into_iter().zip(&mut nanoseconds) {
            let spinning = Workload::start(&python, &program, place, Some(0))?;
            let agent = Spanprof::record(&bench.agent, &folder, &[spinning.id()], FREQUENCY)?;
            // Counted from here, so that work done once per process is left out.
            let duration = Duration::from_secs(if bench.quick { 2 } else { 4 });
            nanoseconds.push(agent.sample_nanoseconds(duration)?);
            if place.len() > 1 {
                looks.extend(agent.looks()?);
            }
            agent.stop()?;
        }
    }
    let [without, idle, span] = nanoseconds;
    let added = |more: &[f64]| {
        more.iter()
            .zip(&without)
            .map(|(more, less)| more - less)
            .collect()
    };
    let figures = vec![
        Figure::new("added if the thread is in no span", "ns", added(&idle)),
        Figure::new("added if the thread is in a span", "ns", added(&span)).below(1500.0),
        Figure::new("finding out how to read a process's span", "ms", looks).below(50.0),
        Figure::new("a run without OpenTelemetry", "ns", without),
    ];
    Ok(Report {
        name: "context-cost",
        figures,
        notes: vec![
            "nanoseconds of a run of the sampling program by the kernel's statistics, the median of the means of slices \
             of 50 ms, below 30 Python frames; each round runs without OpenTelemetry, with it and in no span, and in a \
             span, one after the other; runs on other CPUs and programs, the same in all three, are not subtracted, so \
             the added time appears that much larger"
                .to_owned(),
        ],
    })
}

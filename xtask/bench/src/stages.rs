//! What the stages of a sample take: the sampling program's own clock, since no other can interrupt it.

use std::time::Duration;

use anyhow::Result;

use crate::Bench;
use crate::report::Figure;
use crate::spanprof::Spanprof;
use crate::workload::Workload;

/// Of the agent's counters, and what happens there.
const STAGES: [(&str, &str); 9] = [
    ("stage_start_ns", "header of the record"),
    ("stage_thread_ns", "the thread's state and innermost frame"),
    ("stage_version_ns", "the count of code objects"),
    ("stage_frames_ns", "Python frames"),
    ("stage_codes_ns", "code objects not yet shipped"),
    ("stage_native_ns", "kernel and native frames"),
    ("stage_span_ns", "the current span"),
    ("stage_record_ns", "filling in the record"),
    ("stage_ring_ns", "onto the ring"),
];
/// One reading of the clock: it is in each stage.
const CLOCK: &str = "stage_clock_ns";

/// The stages of samples of one workload, a value a round each.
pub(crate) struct Stages {
    of: String,
    nanoseconds: [Vec<f64>; STAGES.len()],
}

impl Stages {
    /// Of what these are.
    pub(crate) fn new(of: String) -> Self {
        Self {
            of,
            nanoseconds: Default::default(),
        }
    }

    /// Measures once more.
    pub(crate) fn measure(
        &mut self,
        bench: &Bench,
        workload: &Workload,
        frequency: u32,
    ) -> Result<()> {
        let folder = bench.workspace.target.join("bench");
        let flags = ["--time-stages"];
        let agent =
            Spanprof::record_with(&bench.agent, &folder, &[workload.id()], frequency, &flags)?;
        std::thread::sleep(Duration::from_secs(if bench.quick { 2 } else { 4 }));
        let counters = agent.stop()?;
        let count = |name: &str| counters.get(name).copied().unwrap_or(0.0);
        for ((name, _), values) in STAGES.iter().zip(&mut self.nanoseconds) {
            values.push((count(name) - count(CLOCK)) / count("samples_taken"));
        }
        Ok(())
    }

    /// A figure for each.
    pub(crate) fn figures(self) -> impl Iterator<Item = Figure> {
        let of = self.of;
        STAGES
            .iter()
            .zip(self.nanoseconds)
            .map(move |((_, what), values)| Figure::new(format!("{of}: {what}"), "ns", values))
    }
}

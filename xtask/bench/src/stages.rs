//! The time of the stages of a sample, as the sampling program itself measures it: no profiler can interrupt it.

use std::time::Duration;

use anyhow::Result;

use crate::Bench;
use crate::report::Figure;
use crate::spanprof::Spanprof;
use crate::workload::Workload;

/// The stages by the agent's counters, and what the program does in each.
const STAGES: [(&str, &str); 9] = [
    (r#"sampling_time{stage="start"}"#, "header of the record"),
    (
        r#"sampling_time{stage="thread"}"#,
        "the thread's state and innermost frame",
    ),
    (
        r#"sampling_time{stage="version"}"#,
        "the count of code objects",
    ),
    (r#"sampling_time{stage="frames"}"#, "Python frames"),
    (
        r#"sampling_time{stage="codes"}"#,
        "code objects not yet shipped",
    ),
    (
        r#"sampling_time{stage="native"}"#,
        "kernel and native frames",
    ),
    (r#"sampling_time{stage="span"}"#, "the current span"),
    (r#"sampling_time{stage="record"}"#, "filling in the record"),
    (r#"sampling_time{stage="ring"}"#, "onto the ring"),
];
/// One reading of the clock, which each stage includes.
const CLOCK: &str = r#"sampling_time{stage="clock"}"#;

/// The stages of samples of one workload, with one value per round.
pub(crate) struct Stages {
    of: String,
    nanoseconds: [Vec<f64>; STAGES.len()],
}

impl Stages {
    /// The workload's name.
    pub(crate) fn new(of: String) -> Self {
        Self {
            of,
            nanoseconds: Default::default(),
        }
    }

    /// Measures one more round.
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
            let seconds = count(name) - count(CLOCK);
            values.push(1e9 * seconds / count("samples_taken"));
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

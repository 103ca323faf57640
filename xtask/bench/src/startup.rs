//! The time until the first sample has its span, and the work of the verifier until then.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Bench;
use crate::report::{Figure, Report};
use crate::spanprof::Spanprof;
use crate::workload::Workload;

/// Frequent enough for a resolution of milliseconds.
const FREQUENCY: u32 = 999;

pub(crate) fn measure(bench: &Bench) -> Result<Report> {
    let (python, _) = bench.python_with_peers()?;
    let folder = bench.workspace.target.join("bench");
    let (mut first, mut labelled) = (Vec::new(), Vec::new());
    let (mut verified, mut instructions) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds(9, 2) {
        let arguments = ["30", "span"];
        let workload = Workload::start(&python, &bench.program("spin.py"), &arguments, Some(0))?;
        let start = Instant::now();
        let agent = Spanprof::record_at_once(&bench.agent, &folder, &[workload.id()], FREQUENCY)?;
        let sampled = start.elapsed();
        std::thread::sleep(Duration::from_millis(500));
        verified.push(agent.verifications()?.iter().sum());
        instructions.push(agent.verified_instructions()? / 1000.0);
        let counters = agent.stop()?;
        let count = |name: &str| counters.get(name).copied().unwrap_or(0.0);
        let unattributed =
            |reason: &str| count(&format!("samples_unattributed{{reason=\"{reason}\"}}"));
        // The samples before the first with its span: from them the agent learns the layout of the span's class.
        let unlabelled = unattributed("span_class_unknown") + unattributed("process_just_found");
        first.push(1000.0 * sampled.as_secs_f64());
        labelled.push(1000.0 * (sampled.as_secs_f64() + unlabelled / f64::from(FREQUENCY)));
    }
    Ok(Report {
        name: "startup",
        figures: vec![
            Figure::new("start to the first sample", "ms", first).below(400.0),
            Figure::new("start to the first sample with its span", "ms", labelled).below(1000.0),
            Figure::new("verifying and compiling all programs", "ms", verified).below(400.0),
            Figure::new(
                "instructions the verifier follows, the largest program",
                "thousand",
                instructions,
            ),
        ],
        notes: vec![
            "`spanprof record --pid` of a process that is in a span, from its start as a process; the first run of the \
             sampling program is detected to within 10 ms; the time includes loading and verifying the programs"
                .to_owned(),
        ],
    })
}

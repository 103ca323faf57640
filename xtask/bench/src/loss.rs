//! Losses under full load: the counters must balance.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::Bench;
use crate::report::{Figure, Report};
use crate::spanprof::Spanprof;
use crate::workload::Workload;

const FREQUENCY: u32 = 999;
/// One for each CPU of the machine of the published tables.
const PROCESSES: usize = 2;
/// Spans a second of each.
const SPANS: usize = 10_000;

pub(crate) fn measure(bench: &Bench) -> Result<Report> {
    let (python, _) = bench.python_with_peers()?;
    let folder = bench.workspace.target.join("bench");
    let seconds = bench.rounds(60, 5);
    let (mut taken, mut dropped, mut unexplained) = (Vec::new(), Vec::new(), Vec::new());
    let (mut spans, mut missing) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds(3, 1) {
        let mut workloads = (0..PROCESSES)
            .map(|_| Workload::start(&python, &bench.program("storm.py"), &[], None))
            .collect::<Result<Vec<_>>>()?;
        let pids: Vec<u32> = workloads.iter().map(Workload::id).collect();
        let flags = ["--span-probes", "always"];
        let agent = Spanprof::record_with(&bench.agent, &folder, &pids, FREQUENCY, &flags)?;
        let start = Instant::now();
        let made = thread::scope(|scope| {
            let running: Vec<_> = workloads
                .iter_mut()
                .map(|workload| scope.spawn(move || workload.ask(seconds)))
                .collect();
            let mut made = 0.0;
            for thread in running {
                let answer = thread
                    .join()
                    .ok()
                    .context("a workload's thread has died")??;
                made += answer.get("spans").and_then(Value::as_f64).unwrap_or(0.0);
            }
            anyhow::Ok(made)
        })?;
        let elapsed = start.elapsed().as_secs_f64();
        // The agent processes what is on the ring in its next turns.
        thread::sleep(Duration::from_millis(200));
        let (counters, exported) = agent.stop_and_count(&pids)?;
        let count = |name: &str| counters.get(name).copied().unwrap_or(0.0);
        let lost: f64 = counters
            .iter()
            .filter(|(name, _)| name.starts_with("samples_lost{"))
            .map(|(_, count)| count)
            .sum();
        taken.push(count("samples_taken") / elapsed);
        dropped.push(lost);
        unexplained.push((count("samples_taken") - exported - lost).abs());
        spans.push(made / elapsed);
        let seen = count("spans_started") - count(r#"span_records_lost{reason="ring_full"}"#);
        missing.push((made - seen).abs());
    }
    Ok(Report {
        name: "loss",
        figures: vec![
            Figure::new("samples taken a second", "", taken),
            Figure::new("samples dropped, by all named reasons", "", dropped).below(1.0),
            Figure::new(
                "samples neither exported nor counted as dropped",
                "",
                unexplained,
            )
            .below(1.0),
            Figure::new("spans made a second", "", spans),
            Figure::new("spans whose start was not seen", "", missing).below(1.0),
        ],
        notes: vec![format!(
            "{PROCESSES} processes that are always busy and make {SPANS} spans a second each, sampled at \
             {FREQUENCY} Hz with `--span-probes always` for {seconds} s a round: every span crosses the ring \
             twice; what the processes make between their last answer and the end of the recording is none"
        )],
    })
}

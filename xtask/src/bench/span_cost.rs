//! What the package adds to one span, with and without an agent that listens.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::Bench;
use super::report::{Figure, Report};
use super::spanprof::{Runs, Spanprof};
use super::statistics::median;
use super::workload::{Workload, numbers};

/// What the SDK does by itself, and with a processor that does nothing.
const NONE: &str = "none";
const EMPTY: &str = "empty";
const OURS: &str = "spanprof";
const PEER: &str = "pyroscope-otel";
const FREQUENCY: u32 = 99;
const ATTACH_DEADLINE: Duration = Duration::from_secs(10);

/// Microseconds a span by processor, a value a round.
type Times = BTreeMap<String, Vec<f64>>;

pub(super) fn measure(bench: &Bench) -> Result<Report> {
    let (python, lacking) = bench.python_with_peers()?;
    let mut notes = Vec::new();
    let mut workload = Workload::start(&python, &bench.program("spans.py"), &[], Some(0))?;
    let rounds = bench.rounds(9, 3);
    let batches = bench.rounds(40, 15);
    let (mut detached, mut attached) = (Times::new(), Times::new());
    let mut programs = Vec::new();
    let mut sites = String::new();
    for _ in 0..rounds {
        add(&mut detached, &workload.ask(batches)?);
        let folder = bench.workspace.target.join("bench");
        let agent = Spanprof::record(&bench.agent, &folder, &[workload.id()], FREQUENCY)?;
        sites = wait_for_probes(&mut workload)?;
        let before = agent.span_runs()?;
        add(&mut attached, &workload.ask(batches)?);
        programs.push(mean(before, agent.span_runs()?));
        agent.stop()?;
        // The kernel takes the probes off in its own time.
        thread::sleep(Duration::from_millis(200));
    }
    let mut figures = vec![Figure::new(
        "SDK without a processor",
        "µs",
        column(&detached, NONE),
    )];
    let mut added = |name: &str, times: &Times, processor: &str, base: &str, bar: Option<f64>| {
        let values = difference(&column(times, processor), &column(times, base));
        if !values.is_empty() {
            let figure = Figure::new(name, "µs", values);
            figures.push(match bar {
                Some(bar) => figure.below(bar),
                None => figure,
            });
        }
    };
    added("added by an empty processor", &detached, EMPTY, NONE, None);
    added(
        "added by the package, no agent",
        &detached,
        OURS,
        NONE,
        None,
    );
    added("  beside an empty processor", &detached, OURS, EMPTY, None);
    added(
        "added by the package, agent attached",
        &attached,
        OURS,
        NONE,
        Some(2.0),
    );
    added("  beside an empty processor", &attached, OURS, EMPTY, None);
    added("added by pyroscope-otel 1.1.0", &detached, PEER, NONE, None);
    added("  beside an empty processor", &detached, PEER, EMPTY, None);
    figures.push(Figure::new(
        "added by an agent to a span without the package",
        "µs",
        difference(&column(&attached, NONE), &column(&detached, NONE)),
    ));
    figures.push(Figure::new(
        "one run of a span program, by the kernel's statistics",
        "µs",
        programs,
    ));
    if let Some(reason) = lacking {
        notes.push(format!("pyroscope-otel cannot be installed here: {reason}"));
    }
    notes.push(
        "microseconds of thread CPU time of one `start_as_current_span` and its end, nested in a \
         root; every round times all processors in turns, and has the agent attached for its \
         second half; a value is the difference of two medians of one half round"
            .to_owned(),
    );
    notes.push(format!(
        "first byte of the probe sites while attached: {sites} (e8: optimised)"
    ));
    Ok(Report {
        name: "span-cost",
        figures,
        notes,
    })
}

/// Waits until both sites are probed; their first bytes.
fn wait_for_probes(workload: &mut Workload) -> Result<String> {
    let start = Instant::now();
    while start.elapsed() < ATTACH_DEADLINE {
        // The kernel optimises a site when it is hit first, so some spans must have been made.
        let answer = workload.ask(1)?;
        let sites = answer.get("sites").context("the program names no sites")?;
        let byte = |name: &str| sites.get(name).and_then(Value::as_str).unwrap_or_default();
        let (on_start, on_end) = (byte("span_start"), byte("span_end"));
        if on_start != "0f" && on_end != "0f" {
            // Once more: a trap may be waiting to be optimised.
            let answer = workload.ask(1)?;
            let now = answer.get("sites").map(Value::to_string);
            return now.context("the program names no sites");
        }
        thread::sleep(Duration::from_millis(100));
    }
    bail!("the agent has put no probes on the hook")
}

/// Puts a half round's medians to the times.
fn add(times: &mut Times, answer: &Value) {
    let by_name = answer.get("times").and_then(Value::as_object);
    for (name, values) in by_name.into_iter().flatten() {
        let microseconds = median(&numbers(values)) / 1000.0;
        times.entry(name.clone()).or_default().push(microseconds);
    }
}

fn column(times: &Times, name: &str) -> Vec<f64> {
    times.get(name).cloned().unwrap_or_default()
}

fn difference(more: &[f64], less: &[f64]) -> Vec<f64> {
    more.iter()
        .zip(less)
        .map(|(more, less)| more - less)
        .collect()
}

/// Mean microseconds of the runs between two readings.
fn mean(before: Runs, after: Runs) -> f64 {
    (after.nanoseconds - before.nanoseconds) / (after.count - before.count) / 1000.0
}

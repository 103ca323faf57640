//! The time that the package adds to one span, with and without an agent that listens.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::Bench;
use crate::report::{Figure, Report};
use crate::spanprof::{Runs, Spanprof};
use crate::statistics::median;
use crate::workload::{Workload, numbers};

/// The SDK by itself, and with a processor that does nothing.
const NONE: &str = "none";
const EMPTY: &str = "empty";
const OURS: &str = "spanprof";
const PEER: &str = "pyroscope-otel";
const FREQUENCY: u32 = 99;
/// First byte of a site that has no probe.
const NOP: &str = "90";
const ATTACH_DEADLINE: Duration = Duration::from_secs(10);

/// Microseconds a span by processor: each round's batches, in the order of their turns.
type Times = BTreeMap<String, Vec<Vec<f64>>>;

/// The measurements under one condition.
#[derive(Default)]
struct Condition {
    /// Spans below a local root.
    children: Times,
    /// Local roots.
    roots: Times,
}

impl Condition {
    /// Adds a part of a round to the times.
    fn add(&mut self, answer: &Value) {
        add(&mut self.children, answer.get("times"));
        add(&mut self.roots, answer.get("roots"));
    }
}

pub(crate) fn measure(bench: &Bench) -> Result<Report> {
    let (python, lacking) = bench.python_with_peers()?;
    let mut notes = Vec::new();
    let mut workload = Workload::start(&python, &bench.program("spans.py"), &[], Some(0))?;
    let rounds = bench.rounds(9, 3);
    let batches = bench.rounds(40, 8);
    let mut alone = Condition::default();
    let mut beside = Condition::default();
    let mut probed = Condition::default();
    let mut programs = Vec::new();
    let mut sites = String::new();
    for _ in 0..rounds {
        alone.add(&workload.ask(batches)?);
        let agent = start(bench, &workload, "auto")?;
        wait_for_sites(&mut workload, |byte| byte == NOP)?;
        beside.add(&workload.ask(batches)?);
        agent.stop()?;
        let agent = start(bench, &workload, "always")?;
        sites = wait_for_sites(&mut workload, |byte| byte != NOP)?;
        let before = agent.span_runs()?;
        probed.add(&workload.ask(batches)?);
        programs.push(mean(before, agent.span_runs()?));
        agent.stop()?;
        // The kernel takes a while to remove the probes.
        thread::sleep(Duration::from_millis(200));
    }
    if let Some(reason) = lacking {
        notes.push(format!("pyroscope-otel cannot be installed here: {reason}"));
    }
    notes.push(
        "microseconds of thread CPU time of one `start_as_current_span` and its end, nested in a \
         root unless it is one; every round times all processors in turns, without an agent, beside one, \
         and beside one with `--span-probes always`; a value is the median of the differences of a round's batches that were timed one after the other"
            .to_owned(),
    );
    notes.push(
        "the package and pyroscope-otel do most of their work at local roots, where they set \
         `pyroscope.profile.id`"
            .to_owned(),
    );
    notes.push(format!(
        "first byte of the probe sites: {NOP}, a nop, beside an agent; {sites} with `--span-probes always` \
         (cc: a trap)"
    ));
    Ok(Report {
        name: "span-cost",
        figures: figures(&alone, &beside, &probed, programs),
        notes,
    })
}

fn figures(
    alone: &Condition,
    beside: &Condition,
    probed: &Condition,
    programs: Vec<f64>,
) -> Vec<Figure> {
    let of = |times: &Times, processor: &str| times.get(processor).cloned().unwrap_or_default();
    let without: Vec<f64> = of(&alone.children, NONE)
        .iter()
        .map(|it| median(it))
        .collect();
    let added = |name: &str, times: &Times, processor: &str| {
        Figure::new(
            name,
            "µs",
            difference(&of(times, processor), &of(times, NONE)),
        )
    };
    let beside_empty = |times: &Times, processor: &str| {
        let values = difference(&of(times, processor), &of(times, EMPTY));
        Figure::new("  beside an empty processor", "µs", values)
    };
    let children = &alone.children;
    let mut figures = vec![
        Figure::new("SDK without a processor", "µs", without),
        added("added by an empty processor", children, EMPTY),
        added("added by the package, no agent", children, OURS),
        beside_empty(children, OURS).below(0.5),
        added(
            "added by the package, agent attached",
            &beside.children,
            OURS,
        )
        .below(1.3),
        beside_empty(&beside.children, OURS),
        added("  `--span-probes always`", &probed.children, OURS),
        added("added by pyroscope-otel 1.1.0", children, PEER),
        added(
            "added to a local root by the package, no agent",
            &alone.roots,
            OURS,
        ),
        added("  agent attached", &beside.roots, OURS),
        added("  `--span-probes always`", &probed.roots, OURS),
        added(
            "added to a local root by pyroscope-otel 1.1.0",
            &alone.roots,
            PEER,
        ),
        Figure::new(
            "added by an agent to a span without the package",
            "µs",
            difference(&of(&beside.children, NONE), &of(children, NONE)),
        ),
        Figure::new(
            "one run of a span program, by the kernel's statistics",
            "µs",
            programs,
        ),
    ];
    // The peer is not installed.
    figures.retain(|figure| !figure.values.is_empty());
    figures
}

fn start(bench: &Bench, workload: &Workload, probes: &str) -> Result<Spanprof> {
    let folder = bench.workspace.target.join("bench");
    let flags = ["--span-probes", probes];
    Spanprof::record_with(&bench.agent, &folder, &[workload.id()], FREQUENCY, &flags)
}

/// Waits until the first bytes of both sites are as expected and stay so; returns these bytes.
fn wait_for_sites(workload: &mut Workload, is_right: impl Fn(&str) -> bool) -> Result<String> {
    let start = Instant::now();
    let mut times_right = 0;
    while start.elapsed() < ATTACH_DEADLINE {
        let answer = workload.ask(1)?;
        let sites = answer.get("sites").context("the program names no sites")?;
        let byte = |name: &str| sites.get(name).and_then(Value::as_str).unwrap_or_default();
        times_right += 1;
        if !is_right(byte("span_start")) || !is_right(byte("span_end")) {
            times_right = 0;
        } else if times_right > 2 {
            return Ok(sites.to_string());
        }
        thread::sleep(Duration::from_millis(100));
    }
    bail!("the probes of the hook are not as they should be")
}

/// Adds a round's batches to the times.
fn add(times: &mut Times, answer: Option<&Value>) {
    let by_name = answer.and_then(Value::as_object);
    for (name, values) in by_name.into_iter().flatten() {
        let microseconds = numbers(values).iter().map(|it| it / 1000.0).collect();
        times.entry(name.clone()).or_default().push(microseconds);
    }
}

/// For each round, the median of the differences between the two batches of a turn: slow changes of the machine affect
/// both.
fn difference(more: &[Vec<f64>], less: &[Vec<f64>]) -> Vec<f64> {
    let of_round = |(more, less): (&Vec<f64>, &Vec<f64>)| {
        let turns = more.iter().zip(less);
        median(&turns.map(|(more, less)| more - less).collect::<Vec<_>>())
    };
    more.iter().zip(less).map(of_round).collect()
}

/// Mean microseconds of the runs between two readings.
fn mean(before: Runs, after: Runs) -> f64 {
    (after.nanoseconds - before.nanoseconds) / (after.count - before.count) / 1000.0
}

//! CPU and memory of the agent itself, beside other profilers.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::Bench;
use crate::agent_peers::{in_busy_process, in_idle_processes, of_peer};
use crate::peers::{self, InProcess};
use crate::report::{Figure, Report};
use crate::sink;
use crate::spanprof::Spanprof;
use crate::statistics::median;
use crate::workload::Workload;

const IDLE: [u32; 3] = [1, 32, 200];
/// How many of the idle processes `pyroscope-io` profiles, each from within.
pub(crate) const IN_PROCESS: u32 = 32;
const SERVICES: usize = 20;
const BUSY: usize = 2;
/// Two windows of the agent: each ends with an upload.
pub(crate) const WINDOW: Duration = Duration::from_secs(15);
pub(crate) const FREQUENCY: u32 = 99;
/// High enough that every stack is sampled within a window.
const FREQUENCY_OF_STACKS: u32 = 999;

/// One value per round.
#[derive(Default)]
struct Column {
    core: Vec<f64>,
    per_sample: Vec<f64>,
    resident: Vec<f64>,
    proportional: Vec<f64>,
    bpf: Vec<f64>,
}

pub(crate) fn measure(bench: &Bench) -> Result<Report> {
    let (python, lacking) = bench.python_with_peers()?;
    let within = InProcess::find(lacking.as_ref());
    let server = sink::start(false)?;
    let url = &*server.url;
    let agent = |frequency| run_agent(bench, url, frequency);
    let mut figures = Vec::new();
    let (mut memory, mut core) = (Vec::new(), Vec::new());
    for processes in IDLE {
        let arguments = [processes.to_string()];
        let arguments = arguments.each_ref().map(String::as_str);
        let _idle = Workload::start(&python, &bench.program("idle.py"), &arguments, None)?;
        let column = agent(FREQUENCY)?;
        let name = |what: &str| format!("{processes} idle processes: {what}");
        memory.push(median(&column.proportional));
        core.push(median(&column.core));
        figures.extend([
            Figure::new(name("CPU"), "% of a core", column.core),
            Figure::new(
                name("proportional memory (PSS)"),
                "MiB",
                column.proportional,
            )
            .below(60.0),
            Figure::new(name("BPF maps and programs"), "MiB", column.bpf).below(16.0),
        ]);
    }
    let slope = |values: &[f64]| {
        let ends = values.last().zip(values.first());
        let more = IDLE
            .last()
            .zip(IDLE.first())
            .map_or(1, |(last, first)| last - first);
        ends.map_or(0.0, |(last, first)| (last - first) / f64::from(more))
    };
    let (more_memory, more_core) = (1024.0 * slope(&memory), slope(&core));
    figures.extend([
        Figure::new("one more idle process: memory", "KiB", vec![more_memory]).below(64.0),
        Figure::new("one more idle process: CPU", "% of a core", vec![more_core]).below(0.001),
    ]);
    for peer in &within {
        figures.extend(in_idle_processes(bench, &python, peer, url)?);
    }
    let program = bench.program("service.py");
    let services = start_many(&python, &program, &[], SERVICES)?;
    figures.extend(show(
        &format!("{SERVICES} services"),
        agent(FREQUENCY)?,
        Bars {
            core: Some(1.0),
            per_sample: None,
        },
    ));
    drop(services);
    let program = bench.program("spin.py");
    let busy = start_many(&python, &program, &["30"], BUSY)?;
    let name = format!("{BUSY} busy processes");
    let bars = Bars {
        core: Some(1.0),
        per_sample: Some(25.0),
    };
    figures.extend(show(&name, agent(FREQUENCY)?, bars));
    let (peers, mut notes) = peers::find(&python);
    notes.extend(lacking.map(|reason| format!("peers from PyPI are left out: {reason}")));
    for peer in &peers {
        let pid = busy.first().context("nothing is busy")?.id();
        figures.push(of_peer(bench, peer, pid)?);
    }
    for peer in &within {
        figures.push(in_busy_process(bench, &python, peer, url)?);
    }
    drop(busy);
    let spans = start_many(&python, &bench.program("nested_spans.py"), &[], 1)?;
    figures.extend(show("5 000 nested spans a second", agent(FREQUENCY)?, bars));
    drop(spans);
    let stacks = start_many(&python, &bench.program("stacks.py"), &[], 1)?;
    let name = "10 000 stacks in a window";
    // Ten times the samples: there is no bar for the CPU of all of them together.
    let bars = Bars { core: None, ..bars };
    figures.extend(show(name, agent(FREQUENCY_OF_STACKS)?, bars));
    drop(stacks);
    notes.push(format!(
        "`spanprof agent` at {FREQUENCY} Hz ({FREQUENCY_OF_STACKS} Hz for the 10 000 stacks), with uploads every 15 s \
         to a server on this host that accepts everything, in its second and third window; idle processes are forked \
         from one and wake up twice a second; each service serves 20 requests a second, each a span of 2 ms of CPU; the \
         5 000 spans a second are of one process that is always busy in one of them; every other Python process of the \
         host is profiled too; `pyroscope-io` samples {FREQUENCY} times a second from within each of {IN_PROCESS} idle \
         processes; each peer samples one busy process at {FREQUENCY} Hz: the CPU of the peer, or, if it is in the \
         process, of all threads but the busy one, is divided by the samples due"
    ));
    Ok(Report {
        name: "agent",
        figures,
        notes,
    })
}

fn start_many(
    python: &Path,
    program: &Path,
    arguments: &[&str],
    count: usize,
) -> Result<Vec<Workload>> {
    (0..count)
        .map(|_| Workload::start(python, program, arguments, None))
        .collect()
}

fn run_agent(bench: &Bench, url: &str, frequency: u32) -> Result<Column> {
    let folder = bench.workspace.target.join("bench");
    let mut column = Column::default();
    for _ in 0..bench.rounds(2, 1) {
        let agent = Spanprof::agent_at(&bench.agent, &folder, url, frequency)?;
        // In the first window the agent reads symbols, and the kernel program sends every code object.
        thread::sleep(WINDOW);
        let cpu = agent.cpu_seconds()?;
        let runs = agent.sample_runs()?.count;
        let start = Instant::now();
        thread::sleep(if bench.quick { WINDOW } else { 2 * WINDOW });
        let used = agent.cpu_seconds()? - cpu;
        column
            .core
            .push(100.0 * used / start.elapsed().as_secs_f64());
        let runs = agent.sample_runs()?.count - runs;
        let memory = agent.memory()?;
        column.resident.push(memory.resident);
        column.proportional.push(memory.proportional);
        column.bpf.push(memory.bpf);
        let counters = agent.stop()?;
        let count = |name: &str| counters.get(name).copied().unwrap_or(0.0);
        let taken = count("samples_taken");
        let share = taken
            / (taken
                + count(r#"samples_skipped{reason="process_not_profiled"}"#)
                + count(r#"samples_skipped{reason="cpu_idle"}"#));
        column.per_sample.push(1e6 * used / (runs * share));
    }
    Ok(column)
}

/// The bars of CPU, if there are any.
#[derive(Clone, Copy)]
struct Bars {
    /// Percent of a core.
    core: Option<f64>,
    /// Microseconds.
    per_sample: Option<f64>,
}

fn show(what: &str, column: Column, bars: Bars) -> Vec<Figure> {
    let name = |which: &str| format!("{what}: {which}");
    let core = Figure::new(name("CPU"), "% of a core", column.core);
    let samples = Figure::new(name("CPU per sample"), "µs", column.per_sample);
    let with = |figure: Figure, bar: Option<f64>| match bar {
        Some(bar) => figure.below(bar),
        None => figure,
    };
    vec![
        with(core, bars.core),
        with(samples, bars.per_sample),
        Figure::new(name("resident memory"), "MiB", column.resident).below(60.0),
        Figure::new(
            name("proportional memory (PSS)"),
            "MiB",
            column.proportional,
        ),
    ]
}

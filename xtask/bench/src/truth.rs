//! The accuracy of the CPU time of functions and spans, against the thread's own CPU clock.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::Bench;
use crate::peers::{self, InProcess, Peer};
use crate::pprof;
use crate::report::{Figure, Report};
use crate::sink;
use crate::spanprof::Spanprof;
use crate::workload::{Workload, numbers};

const FREQUENCY: u32 = 999;
/// The frequency for peers.
const PEERS: u32 = 999;

/// One value per round.
#[derive(Clone, Default)]
struct Column {
    /// By how many percent the sum of all CPU time is too high or too low.
    bias: Vec<f64>,
    /// Percent of the functions, or spans, within three standard deviations.
    within: Vec<f64>,
}

impl Column {
    /// `seconds` by number as sampled, `exact` in nanoseconds as counted.
    fn note(&mut self, seconds: &HashMap<usize, f64>, exact: &[f64], frequency: u32) {
        let all: f64 = seconds.values().sum();
        let total: f64 = exact.iter().sum::<f64>() / 1e9;
        self.bias.push((100.0 * (all / total - 1.0)).abs());
        let samples = all * f64::from(frequency);
        let is_within = |(number, nanoseconds): &(usize, &f64)| {
            let share = *nanoseconds / 1e9 / total;
            let found = seconds.get(number).copied().unwrap_or(0.0) * f64::from(frequency);
            let deviation = (samples * share * (1.0 - share)).sqrt();
            // Without samples there is no deviation to compute.
            samples > 0.0 && (found - samples * share).abs() <= 3.0 * deviation
        };
        let within = exact.iter().enumerate().filter(is_within).count();
        #[expect(clippy::cast_precision_loss, reason = "small numbers")]
        let percent = 100.0 * within as f64 / exact.len() as f64;
        self.within.push(percent);
    }
}

/// The workloads: argument of `truth.py`, name for people, and number of rounds.
const KINDS: [(&str, &str, usize); 2] = [
    ("python", "functions", 2),
    ("numpy", "functions in numpy without the GIL", 1),
];

/// The profilers that are measured besides.
struct Peers {
    outside: Vec<Peer>,
    within: Vec<InProcess>,
}

pub(crate) fn measure(bench: &Bench) -> Result<Report> {
    let (python, lacking) = bench.python_with_peers()?;
    // 30 000 samples and more.
    let seconds = bench.rounds(31, 3);
    let (mut outside, mut notes) = peers::find(&python);
    for peer in outside.extract_if(.., |peer| peer.seconds.is_none()) {
        notes.push(format!(
            "{} is left out: it knows no Python functions",
            peer.name
        ));
    }
    let peers = Peers {
        outside,
        within: InProcess::find(lacking.as_ref()),
    };
    notes.extend(lacking.map(|reason| format!("peers from PyPI are left out: {reason}")));
    let mut figures = Vec::new();
    for (kind, name, rounds) in KINDS {
        let rounds = bench.rounds(rounds, 1);
        figures.extend(measure_kind(
            bench,
            &python,
            (kind, name),
            (rounds, seconds),
            &peers,
        )?);
    }
    notes.push(format!(
        "40 functions, each in a separate span, that use known amounts of CPU time by the thread's clock, {seconds} s a \
         round at {FREQUENCY} Hz: bias is the error of their sum, σ that of the binomial distribution of this number of \
         samples; peers run at {PEERS} Hz; those in the process also label spans, here each a local root"
    ));
    Ok(Report {
        name: "truth",
        figures,
        notes,
    })
}

fn measure_kind(
    bench: &Bench,
    python: &Path,
    (kind, name): (&str, &str),
    (rounds, seconds): (usize, usize),
    peers: &Peers,
) -> Result<Vec<Figure>> {
    let folder = bench.workspace.target.join("bench");
    let program = bench.program("truth.py");
    let server = sink::start(true)?;
    let mut workload = Workload::start(python, &program, &[kind], Some(0))?;
    let (mut functions, mut spans) = (Column::default(), Column::default());
    let mut others = vec![Column::default(); peers.outside.len()];
    let mut twins = vec![<[Column; 2]>::default(); peers.within.len()];
    for _ in 0..rounds {
        let output = folder.join("truth.pb.gz");
        let flags = ["--span-label", "active", "--output"];
        let flags: Vec<&str> = flags.into_iter().chain(output.to_str()).collect();
        let pids = [workload.id()];
        let agent = Spanprof::record_with(&bench.agent, &folder, &pids, FREQUENCY, &flags)?;
        let exact = numbers(&workload.ask(seconds)?);
        agent.stop()?;
        let rows = pprof::read(&output)?;
        functions.note(&by_function(&rows), &exact, FREQUENCY);
        spans.note(&by_span(&rows, "active_span_name"), &exact, FREQUENCY);
        for (peer, column) in peers.outside.iter().zip(&mut others) {
            let sampling = peer.sample(workload.id(), PEERS, &folder)?;
            let exact = numbers(&workload.ask(seconds)?);
            drop(sampling);
            column.note(&of_peer(peer, &folder)?, &exact, PEERS);
        }
        for (peer, [functions, spans]) in peers.within.iter().zip(&mut twins) {
            let environment = peer.environment(&server.url, PEERS);
            let mut twin = Workload::start_in(&environment, python, &program, &[kind], Some(0))?;
            let exact = numbers(&twin.ask(seconds)?);
            // It pushes the rest when it ends.
            drop(twin);
            let rows = server.take()?;
            functions.note(&by_function(&rows), &exact, PEERS);
            spans.note(&by_span(&rows, "span_name"), &exact, PEERS);
        }
    }
    let ours = [
        (name.to_owned(), functions),
        (format!("{name}: their spans"), spans),
    ];
    let mut figures = Vec::new();
    for (name, column) in ours {
        let bias = Figure::new(format!("{name}: bias"), "%", column.bias);
        let within = Figure::new(format!("{name}: within 3 σ"), "%", column.within);
        figures.extend([bias.below(1.0), within.above(98.9)]);
    }
    let title = |peer: &str, what: &str| format!("{peer}, {name}{what}");
    let others = peers.outside.iter().zip(others);
    let mut columns: Vec<(String, Column)> = others
        .map(|(peer, column)| (title(&peer.name, ""), column))
        .collect();
    for (peer, [functions, spans]) in peers.within.iter().zip(twins) {
        columns.push((title(&peer.name, ""), functions));
        columns.push((title(&peer.name, ": their spans"), spans));
    }
    for (name, column) in columns {
        figures.push(Figure::new(format!("{name}: bias"), "%", column.bias));
        figures.push(Figure::new(
            format!("{name}: within 3 σ"),
            "%",
            column.within,
        ));
    }
    Ok(figures)
}

/// Seconds by number of the function.
fn by_function(rows: &[pprof::Row]) -> HashMap<usize, f64> {
    sums(rows.iter().filter_map(|row| {
        let mut works = row.functions.iter();
        let number = works.find_map(|function| function.strip_prefix("work_")?.parse().ok())?;
        Some((number, row.seconds))
    }))
}

/// Seconds by number of the span in the label, only for samples in functions: a span's own start and end also belong
/// to it, but no clock has counted them.
fn by_span(rows: &[pprof::Row], label: &str) -> HashMap<usize, f64> {
    let is_work = |row: &&pprof::Row| row.functions.iter().any(|it| it.starts_with("work_"));
    sums(rows.iter().filter(is_work).filter_map(|row| {
        let span = row.labels.get(label)?;
        let number = span.strip_prefix("span_")?.parse().ok()?;
        Some((number, row.seconds))
    }))
}

/// Seconds by number of the function, from a peer's output.
fn of_peer(peer: &Peer, folder: &Path) -> Result<HashMap<usize, f64>> {
    let seconds = peer
        .seconds
        .context("the peer's output is not understood")?;
    let text = crate::host::read(peers::output(folder))?;
    Ok(sums(text.lines().filter_map(|line| {
        let (_, work) = line.rsplit_once("work_")?;
        let number = work.get(..2)?.parse().ok()?;
        Some((number, seconds(line, PEERS)?))
    })))
}

fn sums(pairs: impl Iterator<Item = (usize, f64)>) -> HashMap<usize, f64> {
    let mut sums = HashMap::new();
    for (number, seconds) in pairs {
        *sums.entry(number).or_default() += seconds;
    }
    sums
}

//! CPU and memory of the agent's peers.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Bench;
use crate::agent_cost::{FREQUENCY, IN_PROCESS, WINDOW};
use crate::host;
use crate::peers::{InProcess, Peer};
use crate::report::Figure;
use crate::workload::{Workload, numbers};

/// What a peer in the process adds to each of many idle processes.
pub(crate) fn in_idle_processes(
    bench: &Bench,
    python: &Path,
    peer: &InProcess,
    url: &str,
) -> Result<Vec<Figure>> {
    let (mut core, mut memory) = (Vec::new(), Vec::new());
    for _ in 0..bench.rounds(2, 1) {
        let count = IN_PROCESS.to_string();
        let program = bench.program("idle.py");
        let start = |environment: &[(&str, String)]| {
            Workload::start_in(environment, python, &program, &[&count], None)
        };
        let without = many_idle(bench, &mut start(&[])?)?;
        let with = many_idle(bench, &mut start(&peer.environment(url, FREQUENCY))?)?;
        core.push((with.0 - without.0) / f64::from(IN_PROCESS));
        memory.push(1024.0 * (with.1 - without.1) / f64::from(IN_PROCESS));
    }
    Ok(vec![
        Figure::new(
            format!("{} in an idle process: memory", peer.name),
            "KiB",
            memory,
        ),
        Figure::new(
            format!("{} in an idle process: CPU", peer.name),
            "% of a core",
            core,
        ),
    ])
}

/// CPU of a peer's own threads in a busy process per sample due.
pub(crate) fn in_busy_process(
    bench: &Bench,
    python: &Path,
    peer: &InProcess,
    url: &str,
) -> Result<Figure> {
    let mut per_sample = Vec::new();
    for _ in 0..bench.rounds(2, 1) {
        let environment = peer.environment(url, FREQUENCY);
        let program = bench.program("spin.py");
        let busy = Workload::start_in(&environment, python, &program, &["30"], None)?;
        thread::sleep(Duration::from_secs(2));
        let own = || -> Result<f64> {
            Ok(host::cpu_seconds(busy.id())? - host::main_thread_cpu_seconds(busy.id())?)
        };
        per_sample.push(by_samples_due(own)?);
    }
    let name = format!("{}: CPU per sample", peer.name);
    Ok(Figure::new(name, "µs", per_sample))
}

/// CPU in percent of a core, and memory in MiB, of all processes of `idle.py`.
fn many_idle(bench: &Bench, workload: &mut Workload) -> Result<(f64, f64)> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "pids are small whole numbers"
    )]
    let pids: Vec<u32> = numbers(&workload.ask(1)?)
        .iter()
        .map(|&pid| pid as u32)
        .collect();
    let cpu = || -> Result<f64> { pids.iter().map(|&pid| host::cpu_seconds(pid)).sum() };
    thread::sleep(Duration::from_secs(3));
    let (before, start) = (cpu()?, Instant::now());
    thread::sleep(if bench.quick { WINDOW / 3 } else { WINDOW });
    let core = 100.0 * (cpu()? - before) / start.elapsed().as_secs_f64();
    let memory: Result<Vec<[f64; 2]>> = pids.iter().map(|&pid| host::memory(pid)).collect();
    Ok((
        core,
        memory?.iter().map(|[_, proportional]| proportional).sum(),
    ))
}

/// CPU of a peer per sample due.
pub(crate) fn of_peer(bench: &Bench, peer: &Peer, pid: u32) -> Result<Figure> {
    let folder = bench.workspace.target.join("bench");
    let mut per_sample = Vec::new();
    for _ in 0..bench.rounds(2, 1) {
        let sampling = peer.sample(pid, FREQUENCY, &folder)?;
        per_sample.push(by_samples_due(|| sampling.cpu_seconds())?);
    }
    let name = format!("{}: CPU per sample", peer.name);
    Ok(Figure::new(name, "µs", per_sample))
}

/// Microseconds of CPU in a window per sample due in it.
fn by_samples_due(cpu_seconds: impl Fn() -> Result<f64>) -> Result<f64> {
    let (before, start) = (cpu_seconds()?, Instant::now());
    thread::sleep(WINDOW);
    let used = cpu_seconds()? - before;
    let due = start.elapsed().as_secs_f64() * f64::from(FREQUENCY);
    Ok(1e6 * used / due)
}

//! What the agent itself takes: CPU and memory.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::Bench;
use super::report::{Figure, Report};
use super::spanprof::Spanprof;
use super::workload::Workload;

const PROCESSES: [usize; 2] = [1, 20];
/// Two windows of the agent: each ends with an upload.
const WINDOW: Duration = Duration::from_secs(15);

pub(super) fn measure(bench: &Bench) -> Result<Report> {
    let (python, _) = bench.python_with_peers()?;
    let url = start_sink()?;
    let mut figures = Vec::new();
    for processes in PROCESSES {
        let program = bench.program("service.py");
        let _services = (0..processes)
            .map(|_| Workload::start(&python, &program, &[], None))
            .collect::<Result<Vec<_>>>()?;
        let (mut core, mut per_sample) = (Vec::new(), Vec::new());
        let (mut resident, mut proportional, mut bpf) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..bench.rounds(3, 1) {
            let folder = bench.workspace.target.join("bench");
            let agent = Spanprof::agent(&bench.agent, &folder, &url)?;
            // The first window reads symbols, and ships every code object.
            thread::sleep(WINDOW);
            let cpu = agent.cpu_seconds()?;
            let runs = agent.sample_runs()?.count;
            let start = Instant::now();
            thread::sleep(if bench.quick { WINDOW } else { 2 * WINDOW });
            let used = agent.cpu_seconds()? - cpu;
            core.push(100.0 * used / start.elapsed().as_secs_f64());
            let runs = agent.sample_runs()?.count - runs;
            let memory = agent.memory()?;
            resident.push(memory.resident);
            proportional.push(memory.proportional);
            bpf.push(memory.bpf);
            let counters = agent.stop()?;
            let count = |name: &str| counters.get(name).copied().unwrap_or(0.0);
            let taken = count("samples_taken");
            let share = taken / (taken + count("samples_elsewhere") + count("samples_idle"));
            per_sample.push(1e6 * used / (runs * share));
        }
        let name = |what: &str| format!("{processes} Python processes: {what}");
        figures.push(Figure::new(name("CPU"), "% of a core", core).below(1.0));
        figures.push(Figure::new(name("CPU per sample"), "µs", per_sample));
        figures.push(Figure::new(name("resident memory"), "MiB", resident).below(60.0));
        figures.push(Figure::new(
            name("proportional memory (PSS)"),
            "MiB",
            proportional,
        ));
        figures.push(Figure::new(name("BPF maps and programs"), "MiB", bpf));
    }
    Ok(Report {
        name: "agent",
        figures,
        notes: vec![
            "`spanprof agent` at 99 Hz, with uploads every 15 s to a server on this host that takes \
             everything, in its second and third window; each process serves 20 requests a second, \
             each a span of 2 ms of CPU; every other Python process of the host is profiled too"
                .to_owned(),
        ],
    })
}

/// A server that takes every push; its address.
fn start_sink() -> Result<String> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("found no free port for the server")?;
    let address = listener
        .local_addr()
        .context("failed to ask for the server's port")?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A connection that breaks is the agent's to open anew.
            thread::spawn(move || answer(&stream).unwrap_or_default());
        }
    });
    Ok(format!("http://{address}"))
}

/// Answers every request of one connection.
fn answer(stream: &TcpStream) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            let line = line.trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            }
            if line.is_empty() {
                break;
            }
        }
        std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
        writer.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")?;
    }
}

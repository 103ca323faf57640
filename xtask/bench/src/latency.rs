//! The effect on requests to a web service.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::Bench;
use crate::peers::InProcess;
use crate::report::{Figure, Report};
use crate::sink;
use crate::spanprof::Spanprof;
use crate::statistics::quantile;
use crate::workload::Workload;

const FREQUENCY: u32 = 99;
/// Time from one request to the next: a third of the service's capacity.
const PACE: Duration = Duration::from_millis(10);
const REQUESTS: u32 = 600;
/// How long requests are sent one right after the other.
const SATURATED: Duration = Duration::from_secs(3);

/// Durations of requests in milliseconds, and how many a second the service can answer.
#[derive(Clone, Copy)]
struct Served {
    p50: f64,
    p99: f64,
    throughput: f64,
}

type Part = fn(&Served) -> f64;

pub(crate) fn measure(bench: &Bench) -> Result<Report> {
    let (python, lacking) = bench.python_with_peers()?;
    let folder = bench.workspace.target.join("bench");
    let program = bench.program("web.py");
    let mut service = Workload::start(&python, &program, &[], Some(0))?;
    let port = port(&mut service)?;
    let requests = if bench.quick { REQUESTS / 4 } else { REQUESTS };
    serve(port, requests)?;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let (mut more, mut noise) = (Vec::new(), Vec::new());
    let mut done = Vec::new();
    let peers = InProcess::find(lacking.as_ref());
    let mut peers: Vec<(&InProcess, Vec<Served>)> =
        peers.iter().map(|peer| (peer, Vec::new())).collect();
    let server = sink::start(false)?;
    for _ in 0..bench.rounds(9, 2) {
        // A warm-up, as before every run: the previous peer has left the caches cold.
        serve(port, requests / 10)?;
        let before = serve(port, requests)?;
        let agent = Spanprof::record(&bench.agent, &folder, &[], FREQUENCY)?;
        serve(port, requests / 10)?;
        let profiled = serve(port, requests)?;
        agent.stop()?;
        let after = serve(port, requests)?;
        more.push(profiled.p99 / f64::midpoint(before.p99, after.p99));
        // It does not matter which of the two was slower.
        noise.push(after.p99.max(before.p99) / after.p99.min(before.p99));
        done.push(profiled.throughput / f64::midpoint(before.throughput, after.throughput));
        with.push(profiled);
        without.push(before);
        for (peer, served) in &mut peers {
            let environment = peer.environment(&server.url, FREQUENCY);
            let mut twin = Workload::start_in(&environment, &python, &program, &[], Some(0))?;
            let port = self::port(&mut twin)?;
            serve(port, requests / 10)?;
            served.push(serve(port, requests)?);
        }
    }
    let rate = f64::from(FREQUENCY);
    let column = |of: Part, served: &[Served]| served.iter().map(of).collect();
    let mut figures = Vec::new();
    let kinds: [(&str, &'static str, Part); 3] = [
        ("p50", "ms", |it| it.p50),
        ("p99", "ms", |it| it.p99),
        ("throughput at saturation", "requests/s", |it| it.throughput),
    ];
    let peers = peers.iter().map(|(peer, served)| (&*peer.name, served));
    let all: Vec<(&str, &Vec<Served>)> = [("no profiler", &without), ("spanprof", &with)]
        .into_iter()
        .chain(peers)
        .collect();
    for (name, unit, of) in kinds {
        for &(who, served) in &all {
            let name = format!("{name}, {who}");
            figures.push(Figure::new(name, unit, column(of, served)));
        }
    }
    let most = quantile(&noise, 0.75).unwrap_or(1.0);
    figures.push(Figure::new(
        "p99 of two runs without a profiler, the larger by the smaller",
        "",
        noise,
    ));
    figures.push(Figure::new("p99 with spanprof by those around", "", more).below(most));
    let name = "throughput with spanprof by those around";
    figures.push(Figure::new(name, "", done));
    let mut notes = vec![format!(
        "a Flask service under gunicorn (one worker), instrumented with OpenTelemetry, 2 ms of CPU a \
             request; {requests} requests a round, one every {} ms whether the one before was answered or \
             not, each timed from when it was due; then for {} s one after the other; the whole host is \
             profiled at {rate} Hz; the bar is the upper quartile of what the two runs without a profiler \
             around one with it differ by, whichever of them was slower",
        PACE.as_millis(),
        SATURATED.as_secs(),
    )];
    notes.extend(lacking.map(|reason| format!("pyroscope-io is left out: {reason}")));
    Ok(Report {
        name: "latency",
        figures,
        notes,
    })
}

fn port(service: &mut Workload) -> Result<u16> {
    let port = service.ask(0)?.as_u64();
    port.and_then(|port| u16::try_from(port).ok())
        .context("the service does not say its port")
}

fn serve(port: u16, requests: u32) -> Result<Served> {
    let start = Instant::now();
    let mut took = Vec::new();
    for number in 0..requests {
        let due = PACE * number;
        thread::sleep(due.saturating_sub(start.elapsed()));
        request(port)?;
        took.push(1e3 * start.elapsed().saturating_sub(due).as_secs_f64());
    }
    let start = Instant::now();
    let mut done = 0.0;
    while start.elapsed() < SATURATED {
        request(port)?;
        done += 1.0;
    }
    let at = |share| quantile(&took, share).unwrap_or(0.0);
    Ok(Served {
        p50: at(0.5),
        p99: at(0.99),
        throughput: done / start.elapsed().as_secs_f64(),
    })
}

fn request(port: u16) -> Result<()> {
    let mut connection = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    connection.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    if !answer.starts_with("HTTP/1.1 200") {
        bail!("the service says: {answer}");
    }
    Ok(())
}

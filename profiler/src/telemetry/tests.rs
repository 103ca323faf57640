//! The listener as a client sees it, with no agent behind it.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use tokio::runtime::{self, Runtime};

use super::{Settings, Telemetry, ask, page};
use crate::{
    health::{Gauge, Health, Loss, Phase},
    kernel::Usage,
    time::monotonic_now,
};

fn listening(health: &Health) -> (Telemetry, SocketAddr, Runtime) {
    let runtime = runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let settings = Settings {
        listen: Some("127.0.0.1:0".parse().unwrap()),
        otlp: None,
    };
    let telemetry =
        Telemetry::start(&settings, health, Usage::default(), runtime.handle()).unwrap();
    let address = telemetry.address.unwrap();
    (telemetry, address, runtime)
}

fn send(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    // It may hang up before it has read everything.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn get(address: SocketAddr, path: &str) -> String {
    send(address, &format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))
}

/// Names of metrics are those of the page, all counts are there before anything is counted, and every
/// metric has words.
#[test]
fn metrics_are_those_of_the_page() {
    let health = Health::default();
    health.add(Loss::SpanEventLoop, 3);
    let (_telemetry, address, _runtime) = listening(&health);
    let answer = get(address, "/metrics");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("text/plain; version=0.0.4"), "{head}");
    let line = "spanprof_samples_unattributed_total{reason=\"event_loop\"} 3";
    let is_there = body.lines().any(|it| it == line);
    assert!(is_there, "{body}");
    let of = |mark: &str| -> BTreeSet<String> {
        let lines = body.lines().filter_map(|line| line.strip_prefix(mark));
        let names = lines.filter_map(|line| line.split_once(' '));
        names.map(|(name, _)| name.to_owned()).collect()
    };
    let (helped, typed) = (of("# HELP "), of("# TYPE "));
    assert_eq!(helped, typed);
    let known: BTreeSet<_> = page::names().into_iter().collect();
    // Without a kernel there are no maps and no programs.
    let missing: Vec<_> = known
        .difference(&typed)
        .filter(|it| !it.contains("_map_") && !it.contains("_bpf_"))
        .filter(|it| !it.contains("thread_idle"))
        .collect();
    assert_eq!(missing, Vec::<&String>::new());
    let unknown: Vec<_> = typed.difference(&known).collect();
    assert_eq!(unknown, Vec::<&String>::new());
}

/// Well and ready follow the phase; an exec probe hears the same; what is not there says what is.
#[test]
fn verdicts() {
    let health = Health::default();
    let (_telemetry, address, _runtime) = listening(&health);
    assert_eq!(ask(address, false).unwrap(), "starting");
    ask(address, true).unwrap_err();
    health.turns(Gauge::DataTurned);
    health.turns(Gauge::ControlTurned);
    health.enter(Phase::Running);
    assert_eq!(ask(address, false).unwrap(), "well");
    assert_eq!(ask(address, true).unwrap(), "ready");
    assert!(get(address, "/").contains("404"));
    assert!(get(address, "/debug/losses").starts_with("HTTP/1.1 200"));
    let posted = send(
        address,
        "POST /metrics HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
    );
    assert!(posted.starts_with("HTTP/1.1 405"), "{posted}");
}

/// If no agent listens, the error says so and what to do.
#[test]
fn no_agent_listens() {
    let free = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let error = ask(free, false).unwrap_err().to_string();
    assert!(error.contains("--listen"), "{error}");
}

/// Requests that are too large are refused; those that never end take a place for five seconds, and then
/// others have their turn.
#[test]
fn limits() {
    let health = Health::default();
    let (_telemetry, address, _runtime) = listening(&health);
    let long = "x".repeat(20_000);
    let answer = send(
        address,
        &format!("GET /healthz HTTP/1.1\r\nhost: {long}\r\n\r\n"),
    );
    assert!(!answer.starts_with("HTTP/1.1 200"), "{answer}");
    // A client that keeps connections open does not keep others from being answered, and loses its connections.
    let start = monotonic_now();
    let mut idle: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(b"GET /healthz HTTP/1.1\r\n").unwrap();
            stream
        })
        .collect();
    let answer = get(address, "/healthz");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut first = String::new();
    // Closed, or reset.
    let _ = idle[0].read_to_string(&mut first);
    assert_eq!(first, "");
    // Sooner than a request may take.
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop(idle);
}

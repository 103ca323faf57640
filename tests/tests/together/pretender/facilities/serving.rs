//! How it serves: answers when they are due, connections kept, protobuf, speed.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use profiler::time::monotonic_now;
use prost::Message as _;
use tests::pretend_pyroscope::{PretendPyroscope, Storage};

use super::{super::client::ask, profile, push, push_all, series};

/// Pushes are answered when they are due, and wait side by side.
#[test]
fn answers_when_due() {
    // Longer than a thread of a busy machine waits for its turn.
    const WAIT: Duration = Duration::from_secs(1);
    let server = PretendPyroscope::with(Storage::V2);
    server.answer_after(WAIT);
    let start = monotonic_now();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(push(&server, &profile()).status, 200));
        }
    });
    let took = start.elapsed();
    assert!(took >= WAIT, "{took:?}");
    assert!(took < 4 * WAIT, "one after the other: {took:?}");
    server.answer_after(Duration::ZERO);
    let start = monotonic_now();
    push(&server, &profile());
    assert!(start.elapsed() < WAIT);
}

/// A connection is kept for the next request, until it is idle for too long; how many there are is counted.
#[test]
fn keeps_connections() {
    let server = PretendPyroscope::start();
    let mut open: Vec<_> = (0..3)
        .map(|_| BufReader::new(TcpStream::connect(server.address()).unwrap()))
        .collect();
    for reader in &mut open {
        for _ in 0..2 {
            let request = "GET /ready HTTP/1.1\r\nHost: it\r\n\r\n";
            reader.get_mut().write_all(request.as_bytes()).unwrap();
            let mut line = String::new();
            while line != "ready\n" {
                line.clear();
                assert_ne!(reader.read_line(&mut line).unwrap(), 0);
            }
        }
    }
    assert_eq!((server.connections(), server.most_connections()), (3, 3));
    assert_eq!(server.requests(), 6);
    server.close_idle_after(Duration::from_millis(200));
    let mut idle = TcpStream::connect(server.address()).unwrap();
    let mut rest = Vec::new();
    assert_eq!(idle.read_to_end(&mut rest).unwrap(), 0);
}

/// Grafana asks in protobuf.
#[derive(Clone, PartialEq, prost::Message)]
struct Question {
    #[prost(string, tag = "1")]
    profile_type: String,
    #[prost(string, tag = "2")]
    selector: String,
    #[prost(string, repeated, tag = "3")]
    spans: Vec<String>,
    #[prost(int64, tag = "4")]
    start: i64,
    #[prost(int64, tag = "5")]
    end: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FlameGraph {
    #[prost(string, repeated, tag = "1")]
    names: Vec<String>,
    #[prost(int64, tag = "3")]
    total: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Found {
    #[prost(message, optional, tag = "1")]
    graph: Option<FlameGraph>,
}

/// The same question in protobuf has the same answer.
#[test]
fn answers_in_protobuf() {
    let server = PretendPyroscope::start();
    push(&server, &profile());
    let question = Question {
        profile_type: "process_cpu:cpu:nanoseconds:cpu:nanoseconds".to_owned(),
        selector: "{service_name=\"rt\"}".to_owned(),
        spans: Vec::new(),
        start: 1,
        end: i64::MAX,
    };
    let kind = ("Content-Type".to_owned(), "application/proto".to_owned());
    let path = "/querier.v1.QuerierService/SelectMergeSpanProfile";
    let body = question.encode_to_vec();
    let address = server.address().to_string();
    let answer = ask(&address, "POST", path, &BTreeMap::from([kind]), &body);
    let found = Found::decode(answer.body.as_bytes()).unwrap();
    let graph = found.graph.unwrap();
    assert_eq!(
        (graph.total, graph.names),
        (10, vec!["total".to_owned(), "work".to_owned()])
    );
}

/// Tests with very many profiles wait for what they test, and not for the pretender.
#[test]
fn is_quick_with_very_many() {
    const PUSHES: i64 = 100;
    const EACH: i64 = 1_000;
    for storage in [Storage::V1, Storage::V2] {
        let server = PretendPyroscope::with(storage);
        server.forget_bodies();
        let start = monotonic_now();
        let mut message = profile();
        for _ in 0..PUSHES {
            let all = (0..EACH).map(|_| {
                message.time_nanos += 1_000_000;
                series("many", &message)
            });
            assert_eq!(push_all(&server, all.collect()).status, 200);
        }
        server.compact();
        assert_eq!(server.kept_total("many"), 10 * PUSHES * EACH);
        let took = start.elapsed();
        eprintln!("{} profiles, {storage:?}: {took:?}", PUSHES * EACH);
        assert!(took < Duration::from_secs(60), "{took:?}");
    }
}

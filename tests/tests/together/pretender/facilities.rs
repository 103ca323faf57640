//! What tests ask of the pretend Pyroscope beside the rules: times, connections, orders, accounts.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    thread,
    time::Duration,
};

use profiler::{
    export::proto::{LabelPair, PushRequest, RawProfileSeries, RawSample},
    profile::proto::Profile,
    time::{UnixNanos, monotonic_now},
};
use prost::Message as _;
use tests::pretend_pyroscope::{Misbehaviour, PretendPyroscope, Storage};

use super::{
    PUSH,
    client::{Answer, ask},
    message::Context,
    row,
};

/// A profile of 10 ns, of now.
fn profile() -> Profile {
    let context = Context {
        service: String::new(),
        now: i64::try_from(UnixNanos::now().0).unwrap(),
    };
    context.message(&row::Profile::default())
}

fn series(service: &str, profile: &Profile) -> RawProfileSeries {
    let labels = [("__name__", "process_cpu"), ("service_name", service)];
    let labels = labels.map(|(name, value)| LabelPair {
        name: name.to_owned(),
        value: value.to_owned(),
    });
    RawProfileSeries {
        labels: labels.to_vec(),
        samples: vec![RawSample {
            raw_profile: profile.encode_to_vec(),
            id: String::new(),
        }],
    }
}

fn push_all(server: &PretendPyroscope, series: Vec<RawProfileSeries>) -> Answer {
    let bytes = PushRequest { series }.encode_to_vec();
    let kind = ("Content-Type".to_owned(), "application/proto".to_owned());
    let headers = BTreeMap::from([kind]);
    ask(
        &server.address().to_string(),
        "POST",
        PUSH,
        &headers,
        &bytes,
    )
}

fn push(server: &PretendPyroscope, profile: &Profile) -> Answer {
    push_all(server, vec![series("rt", profile)])
}

/// Pushes are answered when they are due, and wait side by side.
#[test]
fn answers_when_due() {
    const WAIT: Duration = Duration::from_millis(300);
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
    server.close_idle_after(Duration::from_millis(200));
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
    let mut rest = Vec::new();
    assert_eq!(open[0].read_to_end(&mut rest).unwrap(), 0);
}

/// A server that is shut refuses connections, until it is opened again with all that it had.
#[test]
fn is_away_for_a_while() {
    let server = PretendPyroscope::start();
    push(&server, &profile());
    server.shut();
    assert!(TcpStream::connect(server.address()).is_err());
    server.reopen();
    push(&server, &profile());
    assert_eq!(server.pushes().len(), 2);
}

/// A server that is about to end says so.
#[test]
fn is_stopping() {
    let server = PretendPyroscope::start();
    server.stopping(true);
    let answer = push(&server, &profile());
    assert_eq!(answer.status, 500);
    assert_eq!(answer.error("message"), "service is unavailable");
    server.stopping(false);
    assert_eq!(push(&server, &profile()).status, 200);
}

/// The series of one service are refused for as long as asked; the others of each push are stored.
#[test]
fn refuses_a_service() {
    let server = PretendPyroscope::start();
    let mut number = 0;
    let mut both = || {
        number += 10_000_000;
        let mut message = profile();
        message.time_nanos += number;
        push_all(
            &server,
            ["bad", "good"].map(|it| series(it, &message)).to_vec(),
        )
    };
    for status in [400, 429, 500] {
        server.refuse_service("bad", status);
        assert_eq!(both().status, status);
        assert_eq!(both().status, status);
    }
    assert_eq!((server.total("bad"), server.total("good")), (0, 60));
    server.take_service("bad");
    assert_eq!(both().status, 200);
    assert_eq!((server.total("bad"), server.total("good")), (10, 70));
}

/// A redirect has its status and its place.
#[test]
fn redirects() {
    let server = PretendPyroscope::start();
    for status in [301, 302, 307, 308] {
        server.script([Misbehaviour::Redirect(
            status,
            "http://elsewhere/x".to_owned(),
        )]);
        let answer = push(&server, &profile());
        assert_eq!(answer.status, status);
        assert_eq!(answer.headers["location"], "http://elsewhere/x");
    }
    assert_eq!(server.profiles(), []);
}

/// Of several errors of a push one is told, not always of the same series.
#[test]
fn one_error_is_told() {
    let server = PretendPyroscope::start();
    let mut wrong = [profile(), profile()];
    wrong[0].location[0].id = 0;
    wrong[1].function[0].id = 0;
    let mut told = Vec::new();
    for _ in 0..2 {
        let all = wrong.iter().map(|it| series("rt", it)).collect();
        assert_eq!(push_all(&server, all).status, 400);
        told.push(server.refusals().pop().unwrap().message);
    }
    told.sort();
    assert_eq!(told, ["function id is 0", "location id is 0"]);
}

/// What is kept is what is left of twins: at once on v1, where they are those of a millisecond, and at
/// compaction on v2, where they are those of a nanosecond.
#[test]
fn keeps_one_of_twins() {
    let time = profile().time_nanos / 1_000_000 * 1_000_000;
    for (storage, seen, kept) in [(Storage::V1, 2, 2), (Storage::V2, 4, 3)] {
        let server = PretendPyroscope::with(storage);
        for later in [0, 0, 1, 1_000_000] {
            let mut message = profile();
            message.time_nanos = time + later;
            assert_eq!(push(&server, &message).status, 200);
        }
        assert_eq!(server.profiles().len(), seen, "{storage:?}");
        assert_eq!(server.kept().len(), kept, "{storage:?}");
        assert_eq!(server.kept_samples(), kept, "{storage:?}");
        assert_eq!(server.kept_total("rt"), 10 * i64::try_from(kept).unwrap());
        server.compact();
        assert_eq!(server.profiles().len(), kept, "{storage:?}");
    }
}

/// A profile says how long after its window's end it was stored.
#[test]
fn stored_at_a_time() {
    let server = PretendPyroscope::start();
    server.answer_after(Duration::from_millis(100));
    let mut message = profile();
    message.duration_nanos = 40_000_000;
    let before = UnixNanos::now();
    push(&server, &message);
    let lag = server.profiles()[0].lag();
    assert!((60_000_000..60_000_000_000).contains(&lag), "{lag}");
    let [(time, stored)] = server.arrivals("rt")[..] else {
        panic!("one profile was stored");
    };
    assert_eq!(time, message.time_nanos);
    assert!(stored.0 >= before.0 + 100_000_000);
}

/// v1 has 5 000 series: those before the first one too many are stored, those it has it takes on, and new
/// ones it refuses. v2 has no limit.
#[test]
fn limits_series() {
    let names: Vec<String> = (0..5_002).map(|number| format!("s{number}")).collect();
    for (storage, status, stored) in [(Storage::V1, 429, 5_000), (Storage::V2, 200, 5_002)] {
        let server = PretendPyroscope::with(storage);
        let mut message = profile();
        let all = names.iter().map(|name| series(name, &message)).collect();
        assert_eq!(push_all(&server, all).status, status);
        assert_eq!(server.profiles().len(), stored);
        message.time_nanos += 10_000_000;
        assert_eq!(push_all(&server, vec![series("s0", &message)]).status, 200);
        assert_eq!(
            push_all(&server, vec![series("s5001", &message)]).status,
            status
        );
        assert_eq!(server.total("s0"), 20);
    }
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
        assert!(took < Duration::from_secs(30), "{took:?}");
    }
}

/// A mapping without functions is stored and flagged.
#[test]
fn unsymbolized_is_flagged() {
    let server = PretendPyroscope::start();
    push(&server, &profile());
    assert!(!server.unsymbolized());
    let mut message = profile();
    message.mapping[0].has_functions = false;
    assert_eq!(push(&server, &message).status, 200);
    assert!(server.unsymbolized());
}

/// More bytes than the server takes at once wait for their turn; a refused push takes nobody's.
#[test]
fn limits_the_rate() {
    let server = PretendPyroscope::start();
    server.limit_rate();
    let mut large = profile();
    large.string_table.push("x".repeat(1_500_000));
    assert_eq!(push(&server, &large).status, 200);
    assert_eq!(push(&server, &large).status, 429);
    assert_eq!(push(&server, &profile()).status, 200);
    thread::sleep(Duration::from_millis(600));
    assert_eq!(push(&server, &large).status, 200);
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

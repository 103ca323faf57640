//! What the server does on a test's orders, and which error it answers.

use std::{net::TcpStream, thread, time::Duration};

use profiler::time::monotonic_now;
use tests::{
    pretend_pyroscope::{Misbehaviour, PretendPyroscope},
    process::eventually,
};

use super::{profile, push, push_all, series};

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

/// The server accepts again, after a time, when it has refused a push for its rate; refused pushes use up no rate.
#[test]
fn limits_the_rate() {
    let server = PretendPyroscope::start();
    server.limit_rate();
    let mut large = profile();
    large.string_table.push("x".repeat(1_500_000));
    // A second one is too much only if it comes soon: within 200 ms, 0.8 MiB are allowed again.
    let second = eventually("two pushes in quick succession", || {
        let start = monotonic_now();
        assert_eq!(push(&server, &large).status, 200);
        let second = push(&server, &large).status;
        let is_soon = start.elapsed() < Duration::from_millis(200);
        if !is_soon {
            thread::sleep(Duration::from_millis(600));
        }
        is_soon.then_some(second)
    });
    assert_eq!(second, 429);
    assert_eq!(push(&server, &profile()).status, 200);
    thread::sleep(Duration::from_millis(600));
    assert_eq!(push(&server, &large).status, 200);
}

/// The answer to a push with several errors has one of them, not always of the same series.
#[test]
fn answers_one_of_several_errors() {
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

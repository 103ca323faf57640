//! A server that is down for a while.

use std::{thread, time::Duration};

use profiler::{health::Loss, time::monotonic_now};
use tests::pretend_pyroscope::{Misbehaviour, PretendPyroscope};

use super::{Account, HANG, PERIOD, exporter, profiles, settings, settle, submit};

fn names(window: usize) -> Vec<String> {
    (0..20)
        .map(|row| format!("function {row} of {window}"))
        .collect()
}

/// Eighty windows of five services, as many as come in twenty minutes, while the server is down: all of them are
/// stored once it is back, and profiles that come in then do not wait for them.
#[test]
fn everything_comes_in_the_end() {
    const WINDOWS: usize = 80;
    let server = PretendPyroscope::start();
    server.shut();
    let mut settings = settings(&server);
    settings.retry.longest_pause = Duration::from_millis(300);
    // Slower than they come: the backlog is some seconds' work.
    settings.pace.request_bytes = 4_096;
    settings.pace.requests = 2;
    let (exporter, health, _runtime) = exporter(settings);
    let services: Vec<String> = (0..5).map(|number| format!("service-{number}")).collect();
    let come = |window| {
        let names = names(window);
        let rows = || names.iter().map(|name| (name.as_str(), 1));
        let all = services
            .iter()
            .flat_map(|service| profiles(service, rows()));
        submit(&exporter, &health, all.collect());
    };
    for window in 0..WINDOWS {
        come(window);
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(exporter.waiting(), WINDOWS * services.len());
    assert_eq!(health.get(Loss::ProfileMaybeTwice), 0, "nothing was sent");
    server.answer_after(Duration::from_millis(20));
    server.reopen();
    settle(&exporter);
    let all = u64::try_from(WINDOWS * services.len()).unwrap();
    assert_eq!(Account::of(&health), Account::stored(all));
    for service in &services {
        assert_eq!(
            server.kept_total(service),
            i64::try_from(WINDOWS).unwrap() * 20 * PERIOD
        );
    }
}

/// A server that fails at every push, and then accepts them: everything is stored, and because all failed, no service
/// is suspected to be the cause.
#[test]
fn server_that_is_stopping() {
    let server = PretendPyroscope::start();
    server.stopping(true);
    let mut settings = settings(&server);
    settings.retry.longest_pause = Duration::from_millis(100);
    let (exporter, health, _runtime) = exporter(settings);
    let names = names(0);
    let rows = || names.iter().map(|name| (name.as_str(), 1));
    let window = || (0..40).flat_map(|number| profiles(&format!("service-{number}"), rows()));
    exporter.submit(window().collect());
    while server.requests() < 10 {
        thread::sleep(Duration::from_millis(10));
    }
    server.stopping(false);
    settle(&exporter);
    assert_eq!(Account::of(&health), Account::stored(40));
    let before = server.requests();
    exporter.submit(window().collect());
    settle(&exporter);
    assert!(
        server.requests() - before <= 3,
        "{}",
        server.requests() - before
    );
}

/// A server that refuses everything as too much, and then nothing: requests are soon as full as before.
#[test]
fn too_much_for_a_while() {
    const TIMES: usize = 30;
    let server = PretendPyroscope::start();
    server.script(vec![Misbehaviour::Status(429); TIMES]);
    let mut settings = settings(&server);
    settings.retry.longest = Duration::from_millis(100);
    settings.retry.longest_pause = Duration::from_millis(100);
    let (exporter, health, _runtime) = exporter(settings);
    let names = names(0);
    let rows = || names.iter().map(|name| (name.as_str(), 1));
    exporter.submit(
        (0..40)
            .flat_map(|number| profiles(&format!("service-{number}"), rows()))
            .collect(),
    );
    settle(&exporter);
    assert_eq!(Account::of(&health), Account::stored(40));
    let requests = server.requests() - TIMES;
    assert!(requests < 10, "{requests}");
}

/// A runtime that ends before the exporter takes profiles with it: they are dropped, and counted.
#[test]
fn runtime_ends_first() {
    let server = PretendPyroscope::start();
    server.shut();
    let (exporter, health, runtime) = exporter(settings(&server));
    for name in ["a", "b", "c"] {
        exporter.submit(profiles(name, [("work", 1)]));
    }
    let start = monotonic_now();
    while health.get(Loss::ProfileEncoded) < 3 {
        assert!(start.elapsed() < HANG);
        thread::sleep(Duration::from_millis(1));
    }
    drop(runtime);
    exporter.submit(profiles("d", [("work", 1)]));
    settle(&exporter);
    exporter.drain(Duration::from_secs(1));
    assert_eq!(
        Account::of(&health).dropped,
        health.get(Loss::ProfileEncoded)
    );
    let all = health.get(Loss::ProfileEncoded)
        + health.get(Loss::EncoderBehind)
        + health.get(Loss::EncoderEnded);
    assert_eq!(all, 4);
}

/// The exporter does not follow a redirect; its profiles wait.
#[test]
fn redirects() {
    let server = PretendPyroscope::start();
    server.script(
        [301, 302, 307, 308]
            .map(|status| Misbehaviour::Redirect(status, "https://elsewhere.example/".to_owned())),
    );
    let (exporter, health, _runtime) = exporter(settings(&server));
    exporter.submit(profiles("shop", [("work", 1)]));
    settle(&exporter);
    assert_eq!(server.requests(), 5);
    assert_eq!(Account::of(&health), Account::stored(1));
}

/// A push that hangs holds up only those that it was sent with.
#[test]
fn one_hangs() {
    let server = PretendPyroscope::start();
    server.script([Misbehaviour::Hang(HANG)]);
    let (exporter, health, _runtime) = exporter(settings(&server));
    exporter.submit(profiles("slow", [("work", 1)]));
    while server.requests() < 1 {
        thread::sleep(Duration::from_millis(1));
    }
    let start = monotonic_now();
    exporter.submit(profiles("quick", [("work", 1)]));
    while server.kept_total("quick") == 0 {
        // It is held up for as long as the other hangs, or not at all.
        assert!(start.elapsed() < HANG / 2, "held up");
        thread::sleep(Duration::from_millis(1));
    }
    exporter.drain(Duration::from_millis(100));
    assert_eq!(health.get(Loss::ProfileLeft), 1);
}

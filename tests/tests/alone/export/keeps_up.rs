//! Many services, a slow server, and refused series that do not delay the others.

use std::{collections::BTreeSet, thread, time::Duration};

use profiler::{
    export::pyroscope,
    health::Loss,
    profile::{Profile, SpanLabel, pprof},
    time::{UnixNanos, monotonic_now},
};
use tests::pretend_pyroscope::{PretendPyroscope, Storage};

use super::{Account, HANG, PERIOD, exporter, profiles, settings, settle};

/// Rows of a profile that has nearly 30 KB before compression.
const ROWS: usize = 365;

fn services(number: usize) -> Vec<String> {
    (0..number)
        .map(|number| format!("service-{number}"))
        .collect()
}

/// One window of many services.
fn window(services: &[String]) -> Vec<Profile> {
    let names: Vec<String> = (0..ROWS)
        .map(|row| format!("a function with the number {row}"))
        .collect();
    let rows = || names.iter().map(|name| (name.as_str(), 1));
    services
        .iter()
        .flat_map(|service| profiles(service, rows()))
        .collect()
}

/// 500 services, a server that answers after half a second and takes 4 MiB a second: every window is stored
/// within five seconds of its end, over few connections, and nothing is refused on the way.
#[test]
fn five_hundred_services() {
    let server = PretendPyroscope::with(Storage::V2);
    server.limit_rate();
    server.answer_after(Duration::from_millis(500));
    let (exporter, health, _runtime) = exporter(settings(&server));
    let names = services(500);
    let mut longest = Duration::ZERO;
    for _ in 0..2 {
        let profiles = window(&names);
        let projection = pyroscope::projection(SpanLabel::LocalRoot, true, false);
        let bytes = pprof::encode(&projection.of(&profiles[0])[0]).len();
        assert!((29_000..30_000).contains(&bytes), "{bytes}");
        let ended = UnixNanos::now();
        exporter.submit(profiles);
        settle(&exporter);
        // The server's bucket is full again when the next window comes.
        thread::sleep(Duration::from_secs(1));
        for name in &names {
            let (_, arrived) = *server.arrivals(name).last().unwrap();
            let lag = Duration::from_nanos(arrived.0 - ended.0);
            longest = longest.max(lag);
            assert!(lag < Duration::from_secs(5), "{name}: {lag:?}");
        }
    }
    eprintln!("stored {longest:?} after the end of a window at the latest");
    assert_eq!(Account::of(&health), Account::stored(1_000));
    assert_eq!(server.refusals(), []);
    assert!(server.requests() < 60, "{}", server.requests());
    assert!(server.connections() <= 4, "{}", server.connections());
}

/// The server refuses the series of one service: that is counted with its reason, all others are stored, in
/// this window and, at once, in the next.
#[test]
fn one_is_refused() {
    for storage in [Storage::V1, Storage::V2] {
        let server = PretendPyroscope::with(storage);
        server.refuse_service("service-17", 400);
        let (exporter, health, _runtime) = exporter(settings(&server));
        let names = services(50);
        for number in 1..=2 {
            let before = server.requests();
            exporter.submit(window(&names));
            settle(&exporter);
            let account = Account {
                stored: 49 * number,
                refused: number,
                dropped: 0,
            };
            assert_eq!(Account::of(&health), account);
            // The second time, the agent knows which service to send alone.
            let requests = server.requests() - before;
            assert!(number == 1 || requests <= 5, "{requests}");
        }
        server.compact();
        for name in &names {
            let windows = if name == "service-17" { 0 } else { 2 };
            let expected = windows * i64::try_from(ROWS).unwrap() * PERIOD;
            assert_eq!(server.kept_total(name), expected, "{name}, {storage:?}");
        }
        // What was sent again had its time.
        let times: BTreeSet<i64> = server.profiles().iter().map(|it| it.time_nanos).collect();
        assert!(times.len() <= 2 * names.len(), "{}", times.len());
    }
}

/// A series at which the server fails again and again is sent until the server accepts it, and the others are
/// stored meanwhile.
#[test]
fn one_fails_for_a_while() {
    for status in [500, 429] {
        let server = PretendPyroscope::start();
        server.refuse_service("service-3", status);
        let mut settings = settings(&server);
        settings.retry.longest = Duration::from_millis(200);
        let (exporter, health, _runtime) = exporter(settings);
        let names = services(20);
        exporter.submit(window(&names));
        let start = monotonic_now();
        while health.get(Loss::ProfileStored) < 19 {
            assert!(start.elapsed() < HANG, "{}", health.table());
            thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(exporter.waiting(), 1);
        server.take_service("service-3");
        settle(&exporter);
        assert_eq!(Account::of(&health), Account::stored(20));
        for name in &names {
            assert!(server.kept_total(name) > 0, "{name}");
        }
    }
}

/// Services at which the server fails, window after window, do not delay the others: once the exporter knows them,
/// new profiles of the others are stored as if the failing ones were not there.
#[test]
fn those_that_fail_stand_back() {
    const WINDOWS: u64 = 10;
    let server = PretendPyroscope::start();
    let names = services(40);
    let (bad, good) = names.split_at(8);
    for name in bad {
        server.refuse_service(name, 500);
    }
    let mut settings = settings(&server);
    settings.retry.first = Duration::from_millis(100);
    settings.retry.longest = Duration::from_secs(8);
    let (exporter, health, _runtime) = exporter(settings);
    let number = u64::try_from(good.len()).unwrap();
    for count in 1..=WINDOWS {
        exporter.submit(window(&names));
        let start = monotonic_now();
        // At first the exporter has to find the failing ones, and those that were sent with one wait, too.
        // Who waits for them then waits for the longest pause.
        let most = Duration::from_secs(if count <= WINDOWS / 2 { 60 } else { 5 });
        while health.get(Loss::ProfileStored) < count * number {
            assert!(start.elapsed() < most, "{count}: {}", health.table());
            thread::sleep(Duration::from_millis(10));
        }
        thread::sleep(Duration::from_millis(500));
    }
    for name in bad {
        server.take_service(name);
    }
    settle(&exporter);
    let all = WINDOWS * u64::try_from(names.len()).unwrap();
    assert_eq!(Account::of(&health), Account::stored(all));
}

/// Connections are kept open: one window after another needs no new one.
#[test]
fn connections_are_kept() {
    let server = PretendPyroscope::start();
    let (exporter, _, _runtime) = exporter(settings(&server));
    for _ in 0..10 {
        exporter.submit(window(&services(3)));
        settle(&exporter);
    }
    assert_eq!(server.connections(), 1);
}

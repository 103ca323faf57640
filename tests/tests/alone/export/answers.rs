//! What the exporter makes of a server's answers.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpListener,
    thread,
    time::Duration,
};

use profiler::{export::Credentials, health::Loss, profile::Profile, time::monotonic_now};
use tests::{
    pretend_pyroscope::{Misbehaviour, PretendPyroscope, Storage},
    process::eventually,
};

use super::{Account, HANG, PERIOD, exporter, one, profile, settings, settle, submit};

/// A query for a span returns only the span's CPU, and nothing for an unknown span; ids are no series labels.
#[test]
fn round_trip() {
    let server = PretendPyroscope::start();
    server.require_tenants();
    let mut settings = settings(&server);
    settings.server.tenant_id = Some("t1".to_owned());
    settings.server.series.tags = vec![("region".to_owned(), "eu".to_owned())];
    let password = tempfile::NamedTempFile::new().unwrap();
    fs::write(password.path(), "secret\n").unwrap();
    settings.server.credentials = Some(Credentials::Basic {
        user: "me".to_owned(),
        password_file: password.path().to_owned(),
    });
    let (exporter, health, _runtime) = exporter(settings);
    let (first, second) = (0x00f0_67aa_0ba9_02b7, 0xabc);
    let spans = [first, first, first, second, second, 0, 0, 0, 0, 0];
    exporter.submit(vec![profile(spans.map(|span| ("work", span)))]);
    exporter.drain(HANG);
    let query = |span| server.select_merge_span_profile("shop", &[span]);
    assert_eq!(Account::of(&health), Account::stored(1));
    assert_eq!(query("00f067aa0ba902b7")["work"], 3 * PERIOD);
    assert_eq!(query("0000000000000abc")["work"], 2 * PERIOD);
    assert!(query("0000000000000001").is_empty());
    assert_eq!(server.total("shop"), 10 * PERIOD);
    assert!(!server.unsymbolized());
    for profile in server.profiles() {
        assert_eq!(profile.label("service_namespace"), Some("prod"));
        assert_eq!(profile.label("region"), Some("eu"));
        assert_eq!(profile.label("span_id"), None);
    }
    let push = &server.pushes()[0];
    assert_eq!(push.headers["x-scope-orgid"], "t1");
    assert_eq!(push.headers["authorization"], "Basic bWU6c2VjcmV0");
    assert!(push.headers["user-agent"].starts_with("spanprof/"));
}

/// After a failure that may be temporary, a profile is sent again until the server accepts it, and is stored once.
#[test]
fn retries_what_may_pass() {
    let server = PretendPyroscope::start();
    let (exporter, health, _runtime) = exporter(settings(&server));
    server.script([
        Misbehaviour::Status(429),
        Misbehaviour::Status(500),
        Misbehaviour::Status(503),
    ]);
    exporter.submit(vec![one()]);
    settle(&exporter);
    assert_eq!(server.pushes().len(), 4);
    assert_eq!(server.total("shop"), PERIOD);
    assert_eq!(Account::of(&health), Account::stored(1));
}

/// The exporter waits for the time of a server's Retry-After.
#[test]
fn honours_retry_after() {
    let server = PretendPyroscope::start();
    let (exporter, _, _runtime) = exporter(settings(&server));
    server.script([Misbehaviour::RetryAfter(1)]);
    let start = monotonic_now();
    exporter.submit(vec![one()]);
    settle(&exporter);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.total("shop"), PERIOD);
}

/// If an answer is lost, the profile is sent again and counted as perhaps stored twice. The server has seen its series
/// and time before, and keeps one.
#[test]
fn lost_answers_are_counted() {
    let server = PretendPyroscope::start();
    let mut settings = settings(&server);
    // Long enough for every answer but the one that does not come.
    settings.server.timeout = Duration::from_secs(2);
    let (exporter, health, _runtime) = exporter(settings);
    let hang = Misbehaviour::Hang(HANG);
    server.script([
        Misbehaviour::Garbage,
        hang,
        Misbehaviour::Close,
        Misbehaviour::StoreAndClose,
    ]);
    exporter.submit(vec![one()]);
    settle(&exporter);
    assert_eq!(server.total("shop"), PERIOD);
    assert_eq!(health.get(Loss::ProfileMaybeTwice), 4);
}

/// An answer counts as soon as its status is there: a body that comes slowly delays nothing.
#[test]
fn slow_words() {
    let server = PretendPyroscope::start();
    let slow = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut settings = settings(&server);
    settings.server.url = format!("http://{}", slow.local_addr().unwrap());
    // The body takes 500 s: who waited for it would wait for longer than this test does.
    settings.server.timeout = 2 * HANG;
    thread::spawn(move || {
        let (mut stream, _) = slow.accept().unwrap();
        let mut request = vec![0; 65_536];
        // Of one profile: it comes at once.
        let _ = stream.read(&mut request);
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n";
        stream.write_all(head).unwrap();
        while stream.write_all(b" ").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    let (exporter, health, _runtime) = exporter(settings);
    let start = monotonic_now();
    exporter.submit(vec![one()]);
    settle(&exporter);
    assert!(start.elapsed() < HANG, "held up");
    assert_eq!(Account::of(&health), Account::stored(1));
}

/// A profile that the server will never accept is sent once.
#[test]
fn refusals_are_final() {
    let server = PretendPyroscope::start();
    let (exporter, health, _runtime) = exporter(settings(&server));
    for status in [400, 413, 422] {
        server.script([Misbehaviour::Status(status)]);
        exporter.submit(vec![one()]);
        settle(&exporter);
    }
    assert_eq!(server.pushes().len(), 3);
    let refused = Account {
        refused: 3,
        ..Account::default()
    };
    assert_eq!(Account::of(&health), refused);
}

/// If the answer is about the agent's credentials or the address, the profile is kept: it may be corrected in time.
#[test]
fn waits_for_what_can_be_mended() {
    let server = PretendPyroscope::start();
    let (exporter, health, _runtime) = exporter(settings(&server));
    let statuses = [401, 403, 404, 405];
    server.script(statuses.map(Misbehaviour::Status));
    exporter.submit(vec![one()]);
    settle(&exporter);
    assert_eq!(server.pushes().len(), 1 + statuses.len());
    assert_eq!(Account::of(&health), Account::stored(1));
}

/// A profile that grows too old while the server is down is dropped.
#[test]
fn old_profiles_are_dropped() {
    let server = PretendPyroscope::start();
    server.script(vec![Misbehaviour::Status(503); 10_000]);
    let mut settings = settings(&server);
    // The window of ten seconds counts.
    settings.retry.oldest = Duration::from_secs(11);
    let (exporter, health, _runtime) = exporter(settings);
    exporter.submit(vec![one()]);
    settle(&exporter);
    assert_eq!(health.get(Loss::ProfileTooOld), 1);
    assert_eq!(Account::of(&health).dropped, 1);
    assert_eq!(server.total("shop"), 0);
}

/// If the server is down, only the oldest profiles are lost, and submitting never waits; a drain ends in
/// time and counts what it could not send.
#[test]
fn bounded_queue_and_drain() {
    let server = PretendPyroscope::start();
    server.script(vec![Misbehaviour::Hang(HANG); 20]);
    let mut settings = settings(&server);
    // Room for a few of them: each is less than a kilobyte.
    settings.queue_bytes = 4 * 1024;
    settings.server.timeout = HANG;
    let (exporter, health, _runtime) = exporter(settings);
    exporter.submit(vec![one()]);
    // Taken from the queue, and as good as never answered.
    eventually("the first push", || {
        (!server.pushes().is_empty()).then_some(())
    });
    let start = monotonic_now();
    for _ in 0..10 {
        submit(&exporter, &health, (0..5).map(|_| one()).collect());
    }
    eventually("a full queue", || {
        (health.get(Loss::QueueFull) > 30).then_some(())
    });
    exporter.drain(Duration::from_millis(300));
    assert!(start.elapsed() < HANG, "a caller has waited for the server");
    assert_eq!(health.get(Loss::EncoderBehind), 0);
    assert!(health.get(Loss::ProfileLeft) >= 2, "{}", health.table());
    assert_eq!(Account::of(&health).dropped, 51);
}

/// A profile that is larger than the server accepts at once, in samples and in bytes.
fn large() -> Profile {
    let names: Vec<String> = (0..20_000)
        .map(|n| format!("{n}{}", "x".repeat(120)))
        .collect();
    profile(names.iter().map(|name| (name.as_str(), 1)))
}

/// A profile over the server's limits arrives whole, in parts.
#[test]
fn large_profiles_are_split() {
    let server = PretendPyroscope::start();
    let (exporter, health, _runtime) = exporter(settings(&server));
    exporter.submit(vec![large()]);
    exporter.drain(HANG);
    assert_eq!(server.refusals(), []);
    assert!(server.pushes().len() >= 2);
    assert_eq!(server.total("shop"), 20_000 * PERIOD);
    let account = Account::of(&health);
    assert_eq!(account, Account::stored(account.stored));
}

/// Nothing is lost to its own twin: the parts of a window, all of one series, have times that each storage
/// keeps apart.
#[test]
fn nothing_is_lost_to_its_twin() {
    const ROWS: i64 = 60_000;
    for storage in [Storage::V1, Storage::V2] {
        let server = PretendPyroscope::with(storage);
        let (exporter, health, _runtime) = exporter(settings(&server));
        let names: Vec<String> = (0..ROWS).map(|n| format!("function {n}")).collect();
        let rows = names.iter().map(|name| (name.as_str(), 1));
        exporter.submit(vec![profile(rows)]);
        exporter.drain(HANG);
        server.compact();
        assert!(server.pushes().len() >= 4, "{storage:?}");
        assert_eq!(server.total("shop"), ROWS * PERIOD, "{storage:?}");
        let account = Account::of(&health);
        assert_eq!(account, Account::stored(account.stored), "{storage:?}");
    }
}

/// The parts of a profile come faster than the server accepts them: those that it refuses at first are sent again.
#[test]
fn parts_wait_for_their_turn() {
    let server = PretendPyroscope::start();
    server.limit_rate();
    let mut settings = settings(&server);
    // As fast as it goes: that is too fast.
    settings.pace.bytes_a_second = usize::MAX;
    settings.pace.burst_bytes = usize::MAX;
    let (exporter, health, _runtime) = exporter(settings);
    exporter.submit(vec![large()]);
    exporter.drain(HANG);
    let refusals = server.refusals();
    assert!(!refusals.is_empty());
    assert!(refusals.iter().all(|it| it.status == 429), "{refusals:?}");
    assert_eq!(server.total("shop"), 20_000 * PERIOD);
    let account = Account::of(&health);
    assert_eq!(account, Account::stored(account.stored));
}

/// Two agents push one service at the same times: the host's label keeps them apart on each storage.
#[test]
fn agents_never_share_a_series() {
    for storage in [Storage::V1, Storage::V2] {
        let server = PretendPyroscope::with(storage);
        let profile = one();
        for host in ["one", "two"] {
            let mut settings = settings(&server);
            settings.server.series.host_name = Some(host.to_owned());
            let (exporter, health, _runtime) = exporter(settings);
            exporter.submit(vec![profile.clone()]);
            exporter.drain(HANG);
            assert_eq!(Account::of(&health), Account::stored(1), "{storage:?}");
        }
        server.compact();
        assert_eq!(server.total("shop"), 2 * PERIOD, "{storage:?}");
    }
}

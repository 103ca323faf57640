//! The real exporter against the pretend Pyroscope.

use std::{
    thread,
    time::{Duration, Instant},
};

use profiler::{
    export::{BasicAuth, Exporter, Pyroscope, Settings},
    health::{Health, Loss},
    profile::{self, Aggregator, LabelSet, Profile, SpanLabel, Window},
    time::{UnixNanos, monotonic_now},
};
use tests::{
    made_up::sample,
    pretend_pyroscope::{Misbehaviour, PretendPyroscope, Storage},
    process::eventually,
};

const PERIOD: i64 = 10_000_000;
/// Longer than anything here takes on a loaded machine.
const HANG: Duration = Duration::from_secs(60);

/// A profile of service `shop` whose samples are (leaf function, span id or 0), `age` old.
fn profile<'a>(samples: impl IntoIterator<Item = (&'a str, u64)>, age: Duration) -> Profile {
    let settings = profile::Settings {
        period: PERIOD.unsigned_abs(),
        span_label: SpanLabel::LocalRoot,
        labels: LabelSet::Pyroscope { trace_id: false },
        max_stacks: 1_000_000,
    };
    let mut aggregator = Aggregator::new(settings, Health::default());
    for (name, span) in samples {
        aggregator.add(&sample(name, span, "GET /"));
    }
    let start = UnixNanos(UnixNanos::now().0 - u64::try_from(age.as_nanos()).unwrap());
    let window = Window {
        start,
        duration_nanos: 10_000_000_000,
    };
    aggregator.finish(window).remove(0)
}

fn one() -> Profile {
    profile([("work", 0xabc)], Duration::ZERO)
}

fn settings(server: &PretendPyroscope) -> Settings {
    let mut settings = Settings::new(Pyroscope::new(server.url()));
    settings.retry.first = Duration::from_millis(5);
    settings
}

fn exporter(settings: Settings) -> (Exporter, Health) {
    let health = Health::default();
    (Exporter::start(settings, health.clone()).unwrap(), health)
}

/// Waits until nothing waits any more.
fn settle(exporter: &Exporter) {
    let start: Instant = monotonic_now();
    while exporter.waiting() > 0 {
        assert!(start.elapsed() < HANG, "still waiting");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The span asked for returns its own CPU only, an unknown span nothing; ids are no series labels.
#[test]
fn round_trip() {
    let server = PretendPyroscope::start();
    server.require_tenants();
    let mut settings = settings(&server);
    settings.server.tenant_id = Some("t1".to_owned());
    settings.server.tags = vec![("region".to_owned(), "eu".to_owned())];
    let (user, password) = ("me".to_owned(), "secret".to_owned());
    settings.server.basic_auth = Some(BasicAuth { user, password });
    let (exporter, _) = exporter(settings);
    let (first, second) = (0x00f0_67aa_0ba9_02b7, 0xabc);
    let spans = [first, first, first, second, second, 0, 0, 0, 0, 0];
    exporter.submit(profile(spans.map(|span| ("work", span)), Duration::ZERO));
    exporter.drain(Duration::from_secs(10));
    let query = |span| server.select_merge_span_profile("shop", &[span]);
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

/// What may pass is tried until it does, and is stored once.
#[test]
fn retries_what_may_pass() {
    let server = PretendPyroscope::start();
    let (exporter, health) = exporter(settings(&server));
    server.script([
        Misbehaviour::Status(429),
        Misbehaviour::Status(500),
        Misbehaviour::Status(503),
    ]);
    exporter.submit(one());
    settle(&exporter);
    assert_eq!(server.pushes().len(), 4);
    assert_eq!(server.total("shop"), PERIOD);
    assert_eq!(health.table(), "");
}

/// A server's Retry-After is waited for.
#[test]
fn honours_retry_after() {
    let server = PretendPyroscope::start();
    let (exporter, _) = exporter(settings(&server));
    server.script([Misbehaviour::RetryAfter(1)]);
    let start = monotonic_now();
    exporter.submit(one());
    settle(&exporter);
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(server.total("shop"), PERIOD);
}

/// A lost answer is tried again and said to be perhaps twice: the server, which has seen its series and time
/// before, keeps one.
#[test]
fn lost_answers_are_counted() {
    let server = PretendPyroscope::start();
    let mut settings = settings(&server);
    settings.server.timeout = Duration::from_millis(300);
    let (exporter, health) = exporter(settings);
    let hang = Misbehaviour::Hang(Duration::from_secs(2));
    server.script([
        Misbehaviour::Garbage,
        hang,
        Misbehaviour::Close,
        Misbehaviour::StoreAndClose,
    ]);
    exporter.submit(one());
    settle(&exporter);
    assert_eq!(server.total("shop"), PERIOD);
    assert_eq!(health.get(Loss::ProfileMaybeTwice), 4);
}

/// What the server will never take is sent once.
#[test]
fn refusals_are_final() {
    let server = PretendPyroscope::start();
    let (exporter, health) = exporter(settings(&server));
    for status in [400, 401, 403, 404, 413] {
        server.script([Misbehaviour::Status(status)]);
        exporter.submit(one());
        settle(&exporter);
    }
    assert_eq!(server.pushes().len(), 5);
    assert_eq!(health.get(Loss::ProfileRefused), 5);
}

/// Too old profiles are not sent at all.
#[test]
fn old_profiles_stay() {
    let server = PretendPyroscope::start();
    let (exporter, health) = exporter(settings(&server));
    exporter.submit(profile([("work", 1)], Duration::from_hours(2)));
    settle(&exporter);
    assert_eq!(
        (server.pushes().len(), health.get(Loss::ProfileTooOld)),
        (0, 1)
    );
}

/// A server that is away costs the oldest profiles only, and submitting never waits; a drain ends in
/// time and counts what it could not send.
#[test]
fn bounded_queue_and_drain() {
    let server = PretendPyroscope::start();
    server.script(vec![Misbehaviour::Hang(HANG); 20]);
    let mut settings = settings(&server);
    settings.queue_profiles = 4;
    settings.server.timeout = HANG;
    let (exporter, health) = exporter(settings);
    exporter.submit(one());
    // Taken from the queue, and as good as never answered.
    eventually("the first push", || {
        (!server.pushes().is_empty()).then_some(())
    });
    let start = monotonic_now();
    for _ in 0..10 {
        exporter.submit(one());
    }
    assert_eq!(health.get(Loss::QueueFull), 6);
    exporter.drain(Duration::from_millis(300));
    assert!(start.elapsed() < HANG, "somebody has waited for the server");
    assert_eq!(health.get(Loss::ProfileGivenUp), 5);
}

/// A profile of more than the server takes at once, in samples and in bytes.
fn large() -> Profile {
    let names: Vec<String> = (0..20_000)
        .map(|n| format!("{n}{}", "x".repeat(120)))
        .collect();
    profile(names.iter().map(|name| (name.as_str(), 1)), Duration::ZERO)
}

/// A profile over the server's limits arrives whole, in parts.
#[test]
fn large_profiles_are_split() {
    let server = PretendPyroscope::start();
    let (exporter, health) = exporter(settings(&server));
    exporter.submit(large());
    exporter.drain(Duration::from_secs(30));
    assert_eq!(server.refusals(), []);
    assert!(server.pushes().len() >= 2);
    assert_eq!(server.total("shop"), 20_000 * PERIOD);
    assert_eq!(health.table(), "");
}

/// Nothing is lost to its own twin: the parts of a window, all of one series, have times that each storage
/// keeps apart.
#[test]
fn nothing_is_lost_to_its_twin() {
    const ROWS: i64 = 60_000;
    for storage in [Storage::V1, Storage::V2] {
        let server = PretendPyroscope::with(storage);
        let (exporter, health) = exporter(settings(&server));
        let names: Vec<String> = (0..ROWS).map(|n| format!("function {n}")).collect();
        let rows = names.iter().map(|name| (name.as_str(), 1));
        exporter.submit(profile(rows, Duration::ZERO));
        exporter.drain(Duration::from_secs(60));
        server.compact();
        assert!(server.pushes().len() >= 4, "{storage:?}");
        assert_eq!(server.total("shop"), ROWS * PERIOD, "{storage:?}");
        assert_eq!(health.table(), "", "{storage:?}");
    }
}

/// Its parts come faster than the server takes them: what is too much at first is sent again.
#[test]
fn parts_wait_for_their_turn() {
    let server = PretendPyroscope::start();
    server.limit_rate();
    let (exporter, health) = exporter(settings(&server));
    exporter.submit(large());
    exporter.drain(Duration::from_secs(30));
    let refusals = server.refusals();
    assert!(!refusals.is_empty());
    assert!(refusals.iter().all(|it| it.status == 429), "{refusals:?}");
    assert!(server.pushes().len() >= 2 + refusals.len());
    assert_eq!(server.total("shop"), 20_000 * PERIOD);
    assert_eq!(health.table(), "");
}

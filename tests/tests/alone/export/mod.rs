//! The real exporter against the pretend Pyroscope.

mod answers;
mod keeps_up;
mod networks;
mod outages;
mod proxies;
mod several;

use std::{
    thread,
    time::{Duration, Instant},
};

use profiler::{
    export::{
        Exporter,
        pyroscope::{self, Pyroscope, Settings},
    },
    health::{Health, Loss},
    profile::{self, Aggregator, Profile, SpanLabel, Window},
    runtime,
    symbolize::NamedSample,
    time::{UnixNanos, monotonic_now},
};
use tests::{
    made_up::{TICK, sample_of},
    pretend_pyroscope::PretendPyroscope,
};
use tokio::runtime::Runtime;

const PERIOD: i64 = 10_000_000;
/// Longer than anything here takes on a loaded machine.
const HANG: Duration = Duration::from_secs(60);

/// A profile of service `shop` whose samples are (leaf function, span id or 0).
fn profile<'a>(samples: impl IntoIterator<Item = (&'a str, u64)>) -> Profile {
    let mut profiles = profiles("shop", samples);
    profiles.remove(0)
}

/// The profiles of a window in which a service has these samples.
fn profiles<'a>(service: &str, samples: impl IntoIterator<Item = (&'a str, u64)>) -> Vec<Profile> {
    let samples = samples.into_iter();
    summed(samples.map(|(name, span)| sample_of(service, name, span, "GET /")))
}

/// The profiles of a window that has these samples.
fn summed(samples: impl IntoIterator<Item = NamedSample>) -> Vec<Profile> {
    let settings = profile::Settings {
        tick: TICK,
        span_label: SpanLabel::LocalRoot,
        max_stacks: 1_000_000,
    };
    let mut aggregator = Aggregator::new(settings, Health::default());
    for sample in samples {
        aggregator.add(&sample);
    }
    let window = Window {
        start: UnixNanos::now(),
        duration_nanos: 10_000_000_000,
    };
    aggregator.finish(window)
}

fn one() -> Profile {
    profile([("work", 0xabc)])
}

fn settings(server: &PretendPyroscope) -> Settings {
    let mut settings = Settings::new(Pyroscope::new(server.url()));
    settings.retry.first = Duration::from_millis(5);
    settings
}

/// An exporter on a separate runtime, which a test has to keep.
fn exporter(settings: Settings) -> (Exporter, Health, Runtime) {
    let health = Health::default();
    let runtime = runtime::start().unwrap();
    let exporter = Exporter::start(&health, |shared| {
        Ok(vec![pyroscope::start(settings, runtime.handle(), shared)?])
    })
    .unwrap();
    (exporter, health, runtime)
}

/// Submits a window, and waits until each destination has taken it: on a machine that is busy, those that come faster
/// are dropped.
fn submit(exporter: &Exporter, health: &Health, window: Vec<Profile>) {
    let number = u64::try_from(window.len()).unwrap();
    let before = health.get(Loss::ProfileEncoded);
    exporter.submit(window);
    let start: Instant = monotonic_now();
    while health.get(Loss::ProfileEncoded) < before + number {
        assert!(start.elapsed() < HANG, "still encoding");
        thread::sleep(Duration::from_millis(1));
    }
}

/// The fate of all encoded profiles, if none waits: each was stored, or its loss has a name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Account {
    stored: u64,
    refused: u64,
    dropped: u64,
}

impl Account {
    fn of(health: &Health) -> Self {
        let account = Self {
            stored: health.get(Loss::ProfileStored),
            refused: health.total("profiles_refused").unwrap(),
            dropped: health.total("profiles_dropped").unwrap(),
        };
        let all = account.stored + account.refused + account.dropped;
        assert_eq!(health.get(Loss::ProfileEncoded), all, "{}", health.table());
        account
    }

    fn stored(stored: u64) -> Self {
        Self {
            stored,
            ..Self::default()
        }
    }
}

/// Waits until no profile waits.
fn settle(exporter: &Exporter) {
    let start: Instant = monotonic_now();
    while exporter.waiting() > 0 {
        assert!(start.elapsed() < HANG, "still waiting");
        thread::sleep(Duration::from_millis(2));
    }
}

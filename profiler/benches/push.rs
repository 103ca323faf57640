//! An exporter with made-up profiles, in a separate process so that its CPU and memory can be measured alone.
//! `cargo xtask bench --only push` runs it, as `push URL SERVICES ROWS [CA_FILE]`; by itself it does nothing.
//!
//! It follows the lines on its stdin, and answers each with a line of JSON:
//! - `window AGE`: a window has ended, of which a server would say that it began 15 s and AGE milliseconds ago;
//! - `account`: only the answer.
//!
//! The answer is how many profiles wait, from before the window, how many were made and how many are lost.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot go on says so by a panic, and its results on stdout"
)]

use std::{env, io, sync::Arc};

use profiler::{
    events::ThreadName,
    export::{
        Exporter,
        pyroscope::{self, Pyroscope, Settings},
    },
    health::{Health, Loss},
    id::{Pid, Service, SpanId, Tid},
    join::{Attribution, NamedSpan, SpanContext},
    measure::Measure,
    profile::{self, Aggregator, Profile, SpanLabel, Window},
    runtime,
    symbolize::{Frame, FrameKind, MappedFile, NamedSample},
    time::{BootNanos, UnixNanos},
};

const WINDOW_NANOS: u64 = 15_000_000_000;
/// What a sample is worth: one of 100 a second.
const TICK: Measure = Measure::cpu(10_000_000);
/// Requests that the samples of a service are in, and their names, each a series for the server.
const SPANS: u64 = 50;
const SPAN_NAMES: u64 = 5;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    // Without these arguments cargo runs all benchmarks there are, or tests that they start.
    let [url, services, rows, ca_file @ ..] = arguments.as_slice() else {
        return;
    };
    let (services, rows): (u64, u64) = (services.parse().unwrap(), rows.parse().unwrap());
    let profiles: Vec<Profile> = (0..services)
        .flat_map(|number| profiles(number, rows))
        .collect();
    let mut settings = Settings::new(Pyroscope::new(url));
    settings.server.tls.ca_file = ca_file.first().map(Into::into);
    let health = Health::default();
    let runtime = runtime::start().unwrap();
    let exporter = Exporter::start(&health, |shared| {
        Ok(vec![pyroscope::start(settings, runtime.handle(), shared)?])
    })
    .unwrap();
    println!("ready");
    for line in io::stdin().lines() {
        let line = line.unwrap();
        let waiting = exporter.waiting();
        if let Some(age) = line.strip_prefix("window ") {
            let age: u64 = age.parse().unwrap();
            exporter.submit(of_age(&profiles, age * 1_000_000));
        }
        let lost = health.profiles_lost();
        let encoded = health.get(Loss::ProfileEncoded);
        println!(r#"{{"waiting": {waiting}, "encoded": {encoded}, "lost": {lost}}}"#);
    }
}

/// The profiles as of a window that began `age` nanoseconds more than 15 s ago. The window is as much longer, because
/// the exporter takes profiles at their window's end.
fn of_age(profiles: &[Profile], age: u64) -> Vec<Profile> {
    let duration_nanos = WINDOW_NANOS + age;
    let window = Window {
        start: UnixNanos(UnixNanos::now().0 - duration_nanos),
        duration_nanos,
    };
    let profiles = profiles.iter().cloned();
    profiles.map(|it| Profile { window, ..it }).collect()
}

/// One service with `rows` functions, each hit once, under three that all have in common.
fn profiles(number: u64, rows: u64) -> Vec<Profile> {
    let settings = profile::Settings {
        tick: TICK,
        span_label: SpanLabel::LocalRoot,
        max_stacks: usize::MAX,
    };
    let service = Arc::new(Service {
        name: format!("service-{number}"),
        ..Service::default()
    });
    let mut random = fastrand::Rng::with_seed(number);
    let mapping = Arc::new(MappedFile {
        path: "/usr/bin/python3.12".to_owned(),
        build_id: String::new(),
    });
    let mut frame = |name: &str| {
        Arc::new(Frame {
            kind: FrameKind::Python,
            name: name.into(),
            is_named: true,
            file: format!("/srv/app/module_{}.py", random.u8(..40)).into(),
            line: random.u32(1..900),
            start_line: random.u32(1..900),
            mapping: Arc::clone(&mapping),
        })
    };
    let common = ["handle", "dispatch", "serve"].map(&mut frame);
    let mut names = fastrand::Rng::with_seed(!number);
    let mut aggregator = Aggregator::new(settings, Health::default());
    for row in 0..rows {
        let letters: String = (0..10).map(|_| names.lowercase()).collect();
        let leaf = frame(&format!("OrderRepository.{letters}"));
        let span = NamedSpan {
            id: SpanId::new(1 + row % SPANS).unwrap(),
            name: Some(format!("GET /route/{}", row % SPAN_NAMES).as_str().into()),
        };
        aggregator.add(&NamedSample {
            time: BootNanos(0),
            measure: TICK,
            service: Arc::clone(&service),
            container: None,
            pid: Pid(1),
            tid: Tid(2),
            thread_name: ThreadName([0; 16]),
            attribution: Attribution::Span(SpanContext {
                trace: None,
                local_root: Some(span.clone()),
                active: span,
            }),
            stack: std::iter::once(leaf).chain(common.clone()).collect(),
        });
    }
    aggregator.finish(Window {
        start: UnixNanos(0),
        duration_nanos: WINDOW_NANOS,
    })
}

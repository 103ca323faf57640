//! The table as instruments of OpenTelemetry. Each is observable: it costs nothing until a reader collects.

use std::{sync::Arc, time::Duration};

use opentelemetry::{
    KeyValue,
    metrics::{AsyncInstrumentBuilder, Meter, MeterProvider as _},
};
use opentelemetry_sdk::metrics::SdkMeterProvider;

use super::{own, state::State};
use crate::{
    health::{COUNTS, FIGURES, Figure, Gauge, Kind, Metric, Row, What},
    time::BootNanos,
    version,
};

/// Makes an instrument of every row of the table.
pub(super) fn register(provider: &SdkMeterProvider, state: &Arc<State>) {
    let meter = provider.meter("spanprof");
    for metric in COUNTS {
        count(&meter, metric, Arc::clone(state));
    }
    for figure in FIGURES {
        let (name, state) = (name(figure.name), Arc::clone(state));
        match figure.kind {
            Kind::Counter => {
                observed(meter.f64_observable_counter(name), figure, state).build();
            }
            Kind::Gauge => {
                observed(meter.f64_observable_gauge(name), figure, state).build();
            }
        }
    }
}

/// An instrument of either kind that asks for its rows.
fn observed<'a, I>(
    instrument: AsyncInstrumentBuilder<'a, I, f64>,
    figure: &'static Figure,
    state: Arc<State>,
) -> AsyncInstrumentBuilder<'a, I, f64> {
    instrument
        .with_unit(figure.unit)
        .with_description(figure.words)
        .with_callback(move |observer| {
            for (value, attributes) in rows(figure, &state) {
                observer.observe(value, &attributes);
            }
        })
}

/// The name of an instrument: what is said of the process has names of its own.
pub(super) fn name(short: &str) -> String {
    if short.contains('.') {
        return short.to_owned();
    }
    format!("spanprof.{short}")
}

fn count(meter: &Meter, metric: &'static Metric, state: Arc<State>) {
    let attributes = |row: &Row| match row.value {
        "" => Vec::new(),
        value => vec![KeyValue::new(metric.attribute, value)],
    };
    let rows: Vec<_> = metric
        .rows
        .iter()
        .map(|row| (row, attributes(row)))
        .collect();
    if metric.unit == Metric::SECONDS {
        meter
            .f64_observable_counter(name(metric.name))
            .with_unit(metric.unit)
            .with_description(metric.words)
            .with_callback(move |observer| {
                for (row, attributes) in &rows {
                    observer.observe(seconds(state.health.row(row)), attributes);
                }
            })
            .build();
        return;
    }
    meter
        .u64_observable_counter(name(metric.name))
        .with_unit(metric.unit)
        .with_description(metric.words)
        .with_callback(move |observer| {
            for (row, attributes) in &rows {
                observer.observe(state.health.row(row), attributes);
            }
        })
        .build();
}

/// The rows of a figure, as they are now; none of what cannot be found out. It is long because it is a table: an arm
/// for each figure.
fn rows(figure: &Figure, state: &State) -> Vec<(f64, Vec<KeyValue>)> {
    let health = &state.health;
    let one = |value: f64| vec![(value, Vec::new())];
    let gauge = |gauge| one(as_float(health.gauge(gauge)));
    let named = |value, name: &'static str| (value, vec![KeyValue::new(figure.attribute, name)]);
    match figure.what {
        What::Processes => gauge(Gauge::Processes),
        What::RingUsed => gauge(Gauge::RingUsed),
        What::RingCapacity => gauge(Gauge::RingCapacity),
        What::WindowLag => one(seconds(health.gauge(Gauge::WindowLag))),
        What::ProfilesWaiting => gauge(Gauge::ProfilesWaiting),
        What::QueueUsed => gauge(Gauge::QueueUsed),
        What::QueueCapacity => gauge(Gauge::QueueCapacity),
        What::QueueAge => {
            let oldest = Some(health.gauge(Gauge::QueueOldest)).filter(|&it| it > 0);
            let age = oldest.map_or(Duration::ZERO, |it| BootNanos::now().since(BootNanos(it)));
            one(age.as_secs_f64())
        }
        What::ThreadIdle => [
            ("data", Gauge::DataTurned),
            ("control", Gauge::ControlTurned),
        ]
        .into_iter()
        .filter_map(|(name, thread)| Some(named(health.idle(thread)?.as_secs_f64(), name)))
        .collect(),
        What::MapEntries => state
            .usage
            .maps()
            .into_iter()
            .map(|it| named(as_float(u64::try_from(it.entries).unwrap_or(0)), it.map))
            .collect(),
        What::MapCapacity => state
            .usage
            .maps()
            .into_iter()
            .map(|it| named(f64::from(it.capacity), it.map))
            .collect(),
        What::ProgramTime => state
            .usage
            .programs()
            .into_iter()
            .map(|it| named(it.time.as_secs_f64(), it.program))
            .collect(),
        What::ProgramRuns => state
            .usage
            .programs()
            .into_iter()
            .map(|it| named(as_float(it.runs), it.program))
            .collect(),
        What::Memory => own::resident().map(one).unwrap_or_default(),
        What::Cpu => one(own::cpu_seconds()),
        What::OpenFiles => own::open_files().map(one).unwrap_or_default(),
        What::Started => own::start_seconds().map(one).unwrap_or_default(),
        What::Build => vec![(
            1.0,
            vec![
                KeyValue::new("version", version::VERSION),
                KeyValue::new("commit", version::COMMIT),
                KeyValue::new("object", version::object_sha256()),
            ],
        )],
    }
}

/// Nanoseconds in seconds.
fn seconds(nanos: u64) -> f64 {
    Duration::from_nanos(nanos).as_secs_f64()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "what is shown needs no more than 52 bits"
)]
fn as_float(count: u64) -> f64 {
    count as f64
}

//! Rows as bytes that are sent.

use std::io::Write as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use profiler::{
    export::pyroscope::proto::{LabelPair, PushRequest, RawProfileSeries, RawSample},
    profile::proto::{Function, Label, Line, Location, Mapping, Profile, Sample, ValueType},
};
use prost::Message as _;
use serde_json::{Value, json};

use super::row::{self, Change, Names};

/// What is the same in a row.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) service: String,
    /// Nanoseconds since 1970.
    pub(super) now: i64,
}

impl Context {
    /// A text with the service's name in its place.
    pub(super) fn text(&self, text: &str) -> String {
        text.replace("{service}", &self.service)
    }

    pub(super) fn push(&self, series: &[row::Series]) -> PushRequest {
        let series = series.iter().flat_map(|series| {
            let numbers = 0..series.times.unwrap_or(1);
            numbers.map(|number| self.series(series, number))
        });
        PushRequest {
            series: series.collect(),
        }
    }

    fn series(&self, series: &row::Series, number: usize) -> RawProfileSeries {
        let own = [("__name__", "process_cpu"), ("service_name", "{service}")];
        let mut labels: Vec<(String, String)> = own
            .iter()
            .filter(|(name, _)| !series.without.iter().any(|it| it == name))
            .map(|(name, value)| ((*name).to_owned(), self.text(value)))
            .collect();
        let more = series.labels.iter();
        labels.extend(more.map(|(name, value)| (name.clone(), self.text(value))));
        labels.extend((0..series.more_labels).map(|it| (format!("label_{it}"), "x".to_owned())));
        if series.long_name > 0 {
            labels.push(("n".repeat(series.long_name), "x".to_owned()));
        }
        if series.long_value > 0 {
            labels.push(("long".to_owned(), "v".repeat(series.long_value)));
        }
        if series.times.is_some() {
            labels.push(("number".to_owned(), number.to_string()));
        }
        let labels = labels.into_iter();
        let one = [row::Profile::default()];
        let profiles = series.profiles.as_deref().unwrap_or(&one).iter();
        RawProfileSeries {
            labels: labels
                .map(|(name, value)| LabelPair { name, value })
                .collect(),
            samples: profiles
                .map(|profile| RawSample {
                    raw_profile: self.profile(profile),
                    id: String::new(),
                })
                .collect(),
        }
    }

    pub(super) fn profile(&self, spec: &row::Profile) -> Vec<u8> {
        let mut bytes = match &spec.text {
            Some(text) => text.clone().into_bytes(),
            None => self.encoded(spec),
        };
        if spec.gzip {
            bytes = gzip(&bytes);
        }
        bytes.truncate(bytes.len() - spec.cut);
        bytes
    }

    fn encoded(&self, spec: &row::Profile) -> Vec<u8> {
        let mut message = self.message(spec);
        let is_of_bytes = spec.change == Some(Change::NotUtf8);
        if let Some(change) = spec.change.filter(|_| !is_of_bytes) {
            damage(&mut message, change);
        }
        let mut bytes = message.encode_to_vec();
        if is_of_bytes {
            let place = bytes.windows(2).position(|it| it == b"py").unwrap();
            bytes[place..place + 2].copy_from_slice(b"\xff\xfe");
        }
        bytes
    }

    pub(super) fn message(&self, spec: &row::Profile) -> Profile {
        let mut strings = Strings(vec![String::new(), "py".to_owned()]);
        let cpu = || "cpu/nanoseconds".to_owned();
        let types = spec.types.clone().unwrap_or_else(|| vec![cpu()]);
        let period = spec.period.clone().unwrap_or_else(cpu);
        let mut profile = Profile {
            sample_type: types.iter().map(|it| strings.kind(it)).collect(),
            period_type: (!period.is_empty()).then(|| strings.kind(&period)),
            period: 10,
            time_nanos: spec
                .time
                .unwrap_or(self.now + spec.seconds * 1_000_000_000 + spec.nanos),
            duration_nanos: 10_000_000_000,
            mapping: vec![Mapping {
                id: 1,
                filename: strings.index("/usr/bin/python3"),
                has_functions: true,
                ..Mapping::default()
            }],
            ..Profile::default()
        };
        let samples = spec
            .samples
            .clone()
            .unwrap_or_else(|| vec![row::Sample::default()]);
        for sample in &samples {
            let sample = self.sample(&mut profile, &mut strings, sample);
            profile.sample.push(sample);
        }
        let first = profile.sample.first().cloned();
        let times = spec.times.unwrap_or(1);
        profile
            .sample
            .extend(first.into_iter().flat_map(|it| vec![it; times - 1]));
        let label = |number: usize| Label {
            key: strings.index(&format!("label_{number}")),
            str: 1,
            num: 0,
        };
        let labels: Vec<_> = (0..spec.more_labels).map(label).collect();
        profile
            .sample
            .iter_mut()
            .take(1)
            .for_each(|it| it.label.extend(&labels));
        if spec.padding > 0 {
            strings.index(&"x".repeat(spec.padding));
        }
        profile.string_table = strings.0;
        profile
    }

    fn sample(&self, profile: &mut Profile, strings: &mut Strings, spec: &row::Sample) -> Sample {
        let stack = format!("{}{}", "deep;".repeat(spec.deeper), spec.stack);
        let frames: Vec<_> = stack.split(';').filter(|it| !it.is_empty()).collect();
        let mut location_id = Vec::new();
        for (depth, name) in frames.iter().rev().enumerate() {
            let longer = if depth == 0 { spec.longer } else { 0 };
            location_id.push(location(
                profile,
                strings,
                &format!("{}{name}", "<".repeat(longer)),
            ));
        }
        let label = |(key, value): &(String, String)| Label {
            key: strings.index(key),
            str: strings.index(&self.text(value)),
            num: 0,
        };
        Sample {
            location_id,
            value: spec.values.clone(),
            label: spec.labels.iter().map(label).collect(),
        }
    }
}

/// Strings by their index; equal ones are one.
struct Strings(Vec<String>);

impl Strings {
    fn index(&mut self, text: &str) -> i64 {
        let place = self.0.iter().position(|it| it == text);
        let place = place.unwrap_or_else(|| {
            self.0.push(text.to_owned());
            self.0.len() - 1
        });
        i64::try_from(place).unwrap()
    }

    fn kind(&mut self, text: &str) -> ValueType {
        let (name, unit) = text.split_once('/').unwrap();
        ValueType {
            r#type: self.index(name),
            unit: self.index(unit),
        }
    }
}

/// The number of a place in a function, which is the same for equal names.
fn location(profile: &mut Profile, strings: &mut Strings, name: &str) -> u64 {
    let (name, file) = (strings.index(name), strings.index("/srv/app.py"));
    if let Some(known) = profile.function.iter().find(|it| it.name == name) {
        return known.id;
    }
    let id = u64::try_from(profile.function.len() + 1).unwrap();
    profile.function.push(Function {
        id,
        name,
        filename: file,
        ..Function::default()
    });
    profile.location.push(Location {
        id,
        mapping_id: 1,
        address: 0,
        line: vec![Line {
            function_id: id,
            line: 7,
        }],
    });
    id
}

fn damage(profile: &mut Profile, change: Change) {
    let label = |key, str, num| Label { key, str, num };
    match change {
        Change::FirstStringNotEmpty => profile.string_table[0].push('x'),
        Change::LocationIdZero => profile.location[0].id = 0,
        Change::FunctionIdZero => profile.function[0].id = 0,
        Change::LocationUnknown => profile.sample[0].location_id[0] = 99,
        Change::FunctionUnknown => profile.location[0].line[0].function_id = 99,
        Change::MappingUnknown => profile.location[0].mapping_id = 99,
        Change::LocationWithoutLines => profile.location[0].line.clear(),
        Change::NoSampleType => profile.sample_type.clear(),
        Change::ValueTooMany => profile.sample[0].value.push(1),
        Change::SampleTypeOutOfRange => profile.sample_type[0].r#type = 99,
        Change::LabelOutOfRange => profile.sample[0].label.push(label(99, 1, 0)),
        Change::LabelNegative => profile.sample[0].label.push(label(1, -1, 0)),
        Change::LabelIsNumber => profile.sample[0].label.push(label(1, 0, 7)),
        Change::FunctionNameOutOfRange => profile.function[0].name = 99,
        Change::FunctionFileOutOfRange => profile.function[0].filename = 99,
        Change::MappingFileOutOfRange => profile.mapping[0].filename = 99,
        Change::NotUtf8 => unreachable!("a string of the message cannot be that"),
    }
}

/// A push as JSON.
pub(super) fn json(push: &PushRequest, names: Names) -> Value {
    let raw_profile = match names {
        Names::CamelCase => "rawProfile",
        Names::SnakeCase => "raw_profile",
    };
    let series = push.series.iter().map(|series| {
        let labels = series.labels.iter();
        let labels = labels.map(|it| json!({"name": it.name, "value": it.value}));
        let samples = series.samples.iter();
        let samples = samples.map(|it| json!({raw_profile: STANDARD.encode(&it.raw_profile)}));
        json!({"labels": labels.collect::<Vec<_>>(), "samples": samples.collect::<Vec<_>>()})
    });
    json!({"series": series.collect::<Vec<_>>()})
}

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

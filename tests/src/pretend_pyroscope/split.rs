//! How the server makes rows of a profile: `pkg/model/pprofsplit/pprof_split.go` and `pkg/pprof/pprof.go` of
//! grafana/pyroscope. `span_id` and `trace_id` stay with the sample, any other text label joins the series;
//! each sample type is a separate series.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::Arc,
};

use profiler::{
    export::pyroscope::proto::RawProfileSeries,
    profile::proto::{Profile, Sample, ValueType},
};

use super::store::{StoredFrame, StoredProfile, StoredSample};

/// Frames of a stack that the server keeps.
const MAX_DEPTH: usize = 1_000;
/// Bytes of a string that the server keeps.
const MAX_STRING: usize = 65_535;
/// Labels that the server works out itself; it discards what a client sends for them.
const COMPUTED: [&str; 6] = [
    "__period_type__",
    "__period_unit__",
    "__profile_type__",
    "__service_name__",
    "__type__",
    "__unit__",
];

/// Names and values, sorted by name.
pub(super) type Labels = Vec<(String, String)>;

/// What samples of one row have in common, and the row's samples with a value for each sample type.
pub(super) type Group = (Labels, Vec<(StoredSample, Vec<i64>)>);

/// The labels of a series as they came, with a name for a service that has none.
pub(super) fn own_labels(series: &RawProfileSeries) -> Labels {
    let labels = series.labels.iter();
    let mut labels: Labels = labels
        .map(|label| (label.name.clone(), label.value.clone()))
        .collect();
    let is_named = |(name, value): &(String, String)| name == "service_name" && !value.is_empty();
    if !labels.iter().any(is_named) {
        labels.push(("service_name".to_owned(), "unknown_service".to_owned()));
    }
    // By name alone: those of one name stay in their order.
    labels.sort_by(|a, b| a.0.cmp(&b.0));
    labels
}

/// The samples of a profile by the labels that join the series'. Assumes it is well formed.
pub(super) fn groups(own: &Labels, profile: &Profile) -> Vec<Group> {
    let mut groups: BTreeMap<Labels, Merged> = BTreeMap::new();
    for sample in &profile.sample {
        let is_kept =
            sample.value.iter().any(|it| *it != 0) && sample.value.iter().all(|it| *it >= 0);
        let Some(frames) = frames(profile, &sample.location_id).filter(|_| is_kept) else {
            continue;
        };
        let (promoted, ids) = routed(profile, sample);
        let merged = groups.entry(promoted).or_default();
        merged.add(&sample.location_id, ids, &sample.value, frames);
    }
    let groups = groups.into_iter();
    groups
        .map(|(promoted, merged)| (joined(own, promoted), merged.samples))
        .collect()
}

/// The rows of a group: one for each sample type.
pub(super) fn rows(profile: &Profile, (labels, samples): Group) -> Vec<StoredProfile> {
    let types = profile.sample_type.iter().enumerate();
    let rows = types.filter_map(|(index, value_type)| {
        let valued = samples.iter().filter_map(|(sample, values)| {
            let value = values.get(index).copied().filter(|value| *value > 0)?;
            Some(StoredSample {
                value,
                ..sample.clone()
            })
        });
        let samples: Vec<_> = valued.collect();
        (!samples.is_empty()).then(|| StoredProfile {
            labels: typed(profile, *value_type, &labels),
            time_nanos: profile.time_nanos,
            duration_nanos: profile.duration_nanos,
            stored_at: None,
            samples,
        })
    });
    rows.collect()
}

/// Ids of a sample's span and trace.
type Ids = (Option<String>, Option<String>);

/// Samples of which those with equal stacks and ids are one.
#[derive(Default)]
struct Merged {
    samples: Vec<(StoredSample, Vec<i64>)>,
    places: HashMap<(Vec<u64>, Ids), usize>,
}

impl Merged {
    fn add(&mut self, locations: &[u64], ids: Ids, values: &[i64], frames: Vec<StoredFrame>) {
        match self.places.entry((locations.to_vec(), ids.clone())) {
            Entry::Occupied(place) => {
                let sums = self.samples.get_mut(*place.get());
                for (sum, value) in sums.into_iter().flat_map(|it| &mut it.1).zip(values) {
                    *sum = sum.saturating_add(*value);
                }
            }
            Entry::Vacant(place) => {
                place.insert(self.samples.len());
                let sample = StoredSample {
                    stack: frames.iter().map(|it| it.name.clone()).collect(),
                    frames,
                    span_id: ids.0,
                    trace_id: ids.1,
                    value: 0,
                };
                self.samples.push((sample, values.to_vec()));
            }
        }
    }
}

/// Which labels of a sample join the series, and which ids stay. Of several ids of a kind the last counts.
fn routed(profile: &Profile, sample: &Sample) -> (Labels, Ids) {
    let (mut promoted, mut span, mut trace) = (BTreeMap::new(), None, None);
    // Others are numbers.
    for label in sample.label.iter().filter(|label| label.str != 0) {
        let (key, value) = (text(profile, label.key), text(profile, label.str));
        match key.as_str() {
            "span_id" | "profile_id" => span = hex(&value, 16),
            "trace_id" => trace = hex(&value, 32),
            _ if value.is_empty() => {}
            _ => {
                promoted.entry(key).or_insert(value);
            }
        }
    }
    (promoted.into_iter().collect(), (span, trace))
}

/// The series with the samples' labels; labels of the series win. A name with an empty value is left out.
fn joined(own: &Labels, promoted: Labels) -> Labels {
    let is_gone = |name: &str| {
        own.iter()
            .any(|(key, value)| key == name && value.is_empty())
    };
    let kept = own.iter().filter(|(name, _)| name != "__session_id__");
    let kept = kept.filter(|(name, _)| !is_gone(name));
    let mut labels: Labels = kept.cloned().collect();
    for (name, value) in promoted {
        if !labels.iter().any(|(key, _)| *key == name) {
            labels.push((name, value));
        }
    }
    labels.sort_by(|a, b| a.0.cmp(&b.0));
    labels
}

/// The labels with those that the server works out.
fn typed(profile: &Profile, value: ValueType, labels: &Labels) -> Arc<[(String, String)]> {
    let of = |name: &str| {
        let label = labels.iter().find(|(key, _)| key == name);
        label.map_or(String::new(), |(_, value)| value.clone())
    };
    let (name, service) = (of("__name__"), of("service_name"));
    let (value_type, unit) = (text(profile, value.r#type), text(profile, value.unit));
    let period = profile.period_type.unwrap_or_default();
    let (period_type, period_unit) = (text(profile, period.r#type), text(profile, period.unit));
    let profile_type = format!("{name}:{value_type}:{unit}:{period_type}:{period_unit}");
    let values = [
        period_type,
        period_unit,
        profile_type,
        service,
        value_type,
        unit,
    ];
    let own = labels
        .iter()
        .filter(|(key, _)| !COMPUTED.contains(&key.as_str()));
    let mut labels: Labels = own.cloned().collect();
    let computed = COMPUTED.iter().zip(values);
    labels.extend(computed.map(|(name, value)| ((*name).to_owned(), value)));
    labels.retain(|(_, value)| !value.is_empty());
    labels.sort();
    labels.into()
}

/// Lower-case digits, if there are as many as there must be and they are not all zero.
fn hex(value: &str, digits: usize) -> Option<String> {
    let right = value.len() == digits && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    let zero = value.bytes().all(|byte| byte == b'0');
    (right && !zero).then(|| value.to_lowercase())
}

/// Frames, leaf first; `None` for a sample that the server drops, as it has no location, or one that refers
/// to nothing. Of a deeper stack the server keeps the root's side.
fn frames(profile: &Profile, ids: &[u64]) -> Option<Vec<StoredFrame>> {
    let kept = ids.get(ids.len().saturating_sub(MAX_DEPTH)..)?;
    if kept.is_empty() {
        return None;
    }
    let mut frames = Vec::new();
    for &id in kept {
        let location = by_id(&profile.location, id, |location| location.id)?;
        if location.line.is_empty() && location.address == 0 {
            return None;
        }
        if location.mapping_id != 0 {
            by_id(&profile.mapping, location.mapping_id, |mapping| mapping.id)?;
        }
        for line in &location.line {
            let function = by_id(&profile.function, line.function_id, |function| function.id)?;
            frames.push(StoredFrame {
                name: text(profile, function.name),
                file: text(profile, function.filename),
                line: line.line,
            });
        }
    }
    Some(frames)
}

/// Ids are dense from 1 as a rule, not by right.
fn by_id<T>(items: &[T], id: u64, id_of: impl Fn(&T) -> u64) -> Option<&T> {
    let index = usize::try_from(id).ok()?.checked_sub(1)?;
    let expected = items.get(index).filter(|item| id_of(item) == id);
    expected.or_else(|| items.iter().find(|item| id_of(item) == id))
}

/// A string as the server keeps it: the tail of a long one.
pub(super) fn text(profile: &Profile, index: i64) -> String {
    let index = usize::try_from(index).unwrap_or(0);
    let text = profile.string_table.get(index).map_or("", String::as_str);
    let tail = text.len().saturating_sub(MAX_STRING);
    text.get(text.ceil_char_boundary(tail)..)
        .unwrap_or_default()
        .to_owned()
}

/// Whether any location's mapping lacks functions.
pub(super) fn unsymbolized(profile: &Profile) -> bool {
    let has_functions = |id: u64| {
        let mut mappings = profile.mapping.iter();
        mappings.any(|mapping| mapping.id == id && mapping.has_functions)
    };
    let mut locations = profile.location.iter();
    locations.any(|location| !has_functions(location.mapping_id))
}

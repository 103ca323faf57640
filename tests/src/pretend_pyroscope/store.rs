//! How the server routes sample labels: `pkg/model/pprofsplit/pprof_split.go` of grafana/pyroscope.
//! `span_id` and `trace_id` stay with the sample, any other text label joins the series.

use std::collections::BTreeMap;

use profiler::{export::proto::RawProfileSeries, profile::proto::Profile};

/// Frames of a stack that the server keeps.
const MAX_DEPTH: usize = 1_000;
/// Bytes of a string that the server keeps.
const MAX_STRING: usize = 65_535;

/// One row of the server's storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredProfile {
    /// The series, sorted; labels of samples joined in.
    pub labels: Vec<(String, String)>,
    /// Its time, in nanoseconds.
    pub time_nanos: i64,
    /// Its samples.
    pub samples: Vec<StoredSample>,
}

/// How the server stores: which of the profiles of one series it takes for the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Storage {
    /// `-architecture.storage=v1`: those of one whole millisecond, at once.
    #[default]
    V1,
    /// The default of 2.x: those of one nanosecond, when it compacts.
    V2,
}

impl StoredProfile {
    /// Whether a storage keeps only one of the two.
    fn is_twin(&self, other: &Self, storage: Storage) -> bool {
        let unit = match storage {
            Storage::V1 => 1_000_000,
            Storage::V2 => 1,
        };
        let time = |profile: &Self| profile.time_nanos.div_euclid(unit);
        time(self) == time(other) && self.labels == other.labels
    }

    /// The value of a label.
    pub fn label(&self, name: &str) -> Option<&str> {
        let mut labels = self.labels.iter();
        labels
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }
}

/// A sample as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSample {
    /// Function names, leaf first.
    pub stack: Vec<String>,
    /// 16 lower-case hex digits.
    pub span_id: Option<String>,
    /// 32 lower-case hex digits.
    pub trace_id: Option<String>,
    /// Nanoseconds.
    pub value: i64,
}

/// Adds a profile, unless the storage takes it for one that it has: then it is gone, in silence.
pub(super) fn keep(profiles: &mut Vec<StoredProfile>, profile: StoredProfile, storage: Storage) {
    if !profiles.iter().any(|it| it.is_twin(&profile, storage)) {
        profiles.push(profile);
    }
}

/// A profile split by labels and normalised. Assumes it is well formed.
pub(super) fn split(series: &RawProfileSeries, profile: &Profile) -> Vec<StoredProfile> {
    let mut groups: BTreeMap<Vec<(String, String)>, Vec<StoredSample>> = BTreeMap::new();
    for sample in &profile.sample {
        let value = sample.value.first().copied().unwrap_or(0);
        let Some(stack) = stack(profile, &sample.location_id).filter(|_| value > 0) else {
            continue;
        };
        let texts = sample.label.iter().filter(|label| label.str != 0);
        let texts = texts.map(|label| (text(profile, label.key), text(profile, label.str)));
        let (mut promoted, mut span_id, mut trace_id) = (BTreeMap::new(), None, None);
        for (key, value) in texts {
            match key.as_str() {
                "span_id" | "profile_id" => span_id = span_id.or(hex(&value, 16)),
                "trace_id" => trace_id = trace_id.or(hex(&value, 32)),
                _ => {
                    promoted.entry(key).or_insert(value);
                }
            }
        }
        let stored = StoredSample {
            stack,
            span_id,
            trace_id,
            value,
        };
        add(
            groups.entry(promoted.into_iter().collect()).or_default(),
            stored,
        );
    }
    groups
        .into_iter()
        .map(|(promoted, samples)| StoredProfile {
            labels: joined(series, promoted),
            time_nanos: profile.time_nanos,
            samples,
        })
        .collect()
}

/// Equal stacks with equal ids are one sample.
fn add(samples: &mut Vec<StoredSample>, sample: StoredSample) {
    let key = |it: &StoredSample| (it.stack.clone(), it.span_id.clone(), it.trace_id.clone());
    // Only neighbours are merged: totals are the same, and large profiles stay quick.
    match samples.last_mut() {
        Some(last) if key(last) == key(&sample) => last.value += sample.value,
        _ => samples.push(sample),
    }
}

/// The series with the samples' labels; the series' own win.
fn joined(series: &RawProfileSeries, promoted: Vec<(String, String)>) -> Vec<(String, String)> {
    let own = series.labels.iter();
    let mut labels: Vec<_> = own
        .map(|label| (label.name.clone(), label.value.clone()))
        .collect();
    for (key, value) in promoted {
        if !labels.iter().any(|(name, _)| *name == key) {
            labels.push((key, value));
        }
    }
    if !labels.iter().any(|(name, _)| name == "service_name") {
        labels.push(("service_name".to_owned(), "unknown_service".to_owned()));
    }
    labels.sort();
    labels
}

fn hex(value: &str, digits: usize) -> Option<String> {
    let right = value.len() == digits && value.bytes().all(|byte| byte.is_ascii_hexdigit());
    let zero = value.bytes().all(|byte| byte == b'0');
    (right && !zero).then(|| value.to_lowercase())
}

/// Function names, leaf first; `None` for a sample that the server drops, as a location of its refers to
/// nothing. Of a deeper stack the server keeps the root's side.
fn stack(profile: &Profile, ids: &[u64]) -> Option<Vec<String>> {
    let kept = ids.get(ids.len().saturating_sub(MAX_DEPTH)..)?;
    let mut names = Vec::new();
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
            names.push(text(profile, function.name));
        }
    }
    Some(names)
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

//! How the server routes sample labels: `pkg/model/pprofsplit/pprof_split.go` of grafana/pyroscope.
//! `span_id` and `trace_id` stay with the sample, any other text label joins the series.

use std::collections::BTreeMap;

use profiler::{export::proto::RawProfileSeries, profile::proto::Profile};

/// One row of the server's storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredProfile {
    /// The series, sorted; labels of samples joined in.
    pub labels: Vec<(String, String)>,
    /// Its samples.
    pub samples: Vec<StoredSample>,
}

impl StoredProfile {
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

/// A profile split by labels and normalised. Assumes it is well formed.
pub(super) fn split(series: &RawProfileSeries, profile: &Profile) -> Vec<StoredProfile> {
    let mut groups: BTreeMap<Vec<(String, String)>, Vec<StoredSample>> = BTreeMap::new();
    for sample in &profile.sample {
        let value = sample.value.first().copied().unwrap_or(0);
        if value <= 0 {
            continue;
        }
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
            stack: stack(profile, &sample.location_id),
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

fn stack(profile: &Profile, ids: &[u64]) -> Vec<String> {
    let location = |&id: &u64| by_id(&profile.location, id, |location| location.id);
    ids.iter()
        .filter_map(location)
        .flat_map(|location| &location.line)
        .filter_map(|line| by_id(&profile.function, line.function_id, |function| function.id))
        .map(|function| text(profile, function.name))
        .collect()
}

/// Ids are dense from 1 as a rule, not by right.
fn by_id<T>(items: &[T], id: u64, id_of: impl Fn(&T) -> u64) -> Option<&T> {
    let index = usize::try_from(id).ok()?.checked_sub(1)?;
    let expected = items.get(index).filter(|item| id_of(item) == id);
    expected.or_else(|| items.iter().find(|item| id_of(item) == id))
}

fn text(profile: &Profile, index: i64) -> String {
    let index = usize::try_from(index).unwrap_or(0);
    profile.string_table.get(index).cloned().unwrap_or_default()
}

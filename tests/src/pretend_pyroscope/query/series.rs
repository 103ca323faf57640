//! Which series there are, what they are called, and their sums by time.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    super::{
        refusal::Refusal,
        store::{Storage, Store},
    },
    Question,
};

/// Whether a name is shown: names with dots are so to clients that say they can read them, and by v2.
fn is_shown(question: &Question, store: &Store, name: &str) -> bool {
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || it == b'_';
    name.bytes().all(is_plain) || (store.storage == Storage::V2 && question.reads_utf8)
}

pub(super) fn names(question: &Question, store: &Store) -> Result<Value, Refusal> {
    let labels = question.matched(store)?.flat_map(|it| it.labels.iter());
    let names = labels.map(|(name, _)| name.as_str());
    let names: BTreeSet<_> = names.filter(|it| is_shown(question, store, it)).collect();
    Ok(json!({"names": names}))
}

pub(super) fn values(question: &Question, store: &Store) -> Result<Value, Refusal> {
    let name = question.names.first().map_or("", String::as_str);
    let profiles = question.matched(store)?;
    let values: BTreeSet<_> = profiles.filter_map(|it| it.label(name)).collect();
    Ok(json!({"names": values}))
}

pub(super) fn types(question: &Question, store: &Store) -> Result<Value, Refusal> {
    let profiles = question.in_range(store)?;
    let ids = profiles.filter_map(|it| it.label("__profile_type__"));
    let ids: BTreeSet<_> = ids.collect();
    let types = ids.into_iter().map(|id| {
        let fields = [
            "name",
            "sampleType",
            "sampleUnit",
            "periodType",
            "periodUnit",
        ];
        let parts = fields.iter().zip(id.split(':'));
        let parts = parts.filter(|(_, value)| !value.is_empty());
        let mut parts: BTreeMap<&str, &str> = parts.map(|(name, value)| (*name, value)).collect();
        parts.insert("ID", id);
        parts
    });
    Ok(json!({"profileTypes": types.collect::<Vec<_>>()}))
}

/// The labels of each series, or the requested ones of them.
pub(super) fn series(question: &Question, store: &Store) -> Result<Value, Refusal> {
    let wanted = &question.names;
    let sets = question.matched(store)?.map(|profile| {
        let labels = profile.labels.iter();
        let labels = labels.filter(|(name, _)| is_shown(question, store, name));
        labels
            .filter(|(name, _)| wanted.is_empty() || wanted.contains(name))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect::<Vec<_>>()
    });
    let sets: BTreeSet<_> = sets.collect();
    let sets = sets.iter().map(|set| json!({"labels": pairs(set)}));
    Ok(json!({"labelsSet": sets.collect::<Vec<_>>()}))
}

pub(super) fn pairs(labels: &[(&str, &str)]) -> Vec<Value> {
    let pairs = labels.iter();
    pairs
        .map(|(name, value)| json!({"name": name, "value": value}))
        .collect()
}

/// Sums of each step, by the requested labels.
pub(super) fn points(question: &Question, store: &Store) -> Result<Value, Refusal> {
    if question.exemplars == "EXEMPLAR_TYPE_SPAN" {
        let words = "rpc error: code = Unimplemented desc = span exemplars are not implemented";
        return Err(Refusal::unknown(words));
    }
    let step = question.step.max(1) * 1_000;
    let mut sums: BTreeMap<Vec<(&str, &str)>, BTreeMap<i64, i64>> = BTreeMap::new();
    for profile in question.profiles(store)? {
        let names = question.names.iter();
        let labels = names.map(|name| (name.as_str(), profile.label(name).unwrap_or_default()));
        let steps = (profile.time_nanos / 1_000_000 - question.start) / step;
        let points = sums.entry(labels.collect()).or_default();
        *points.entry(question.start + steps * step).or_default() += profile.total();
    }
    let series = sums.iter().map(|(labels, points)| {
        let points = points.iter();
        let points =
            points.map(|(time, value)| json!({"timestamp": time.to_string(), "value": value}));
        json!({"labels": pairs(labels), "points": points.collect::<Vec<_>>()})
    });
    Ok(json!({"series": series.collect::<Vec<_>>()}))
}

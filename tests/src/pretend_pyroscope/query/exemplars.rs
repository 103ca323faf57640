//! `SelectHeatmap` of spans: single spans to look at.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{
    super::{
        refusal::Refusal,
        store::{Storage, Store},
    },
    Question,
    series::pairs,
};

/// Ids of spans and their traces, each with its time and its sum.
type Spans<'store> = BTreeMap<(&'store str, &'store str), (i64, i64)>;

/// Spans by the step they are in, each with its sum.
pub(super) fn heatmap(question: &Question, store: &Store) -> Result<Value, Refusal> {
    if store.storage == Storage::V1 {
        let words = "heatmaps are not supported by the v1 storage";
        return Err(Refusal::unimplemented(words));
    }
    let step = question.step.max(1) * 1_000;
    let mut slots: BTreeMap<i64, Spans> = BTreeMap::new();
    for (profile, sample) in question.samples(store)? {
        let Some(span) = &sample.span_id else {
            continue;
        };
        let time = profile.time_nanos / 1_000_000;
        let slot = question.start + (time - question.start) / step * step;
        let trace = sample.trace_id.as_deref().unwrap_or_default();
        let exemplars = slots.entry(slot).or_default();
        exemplars.entry((span, trace)).or_insert((time, 0)).1 += sample.value;
    }
    let slots = slots.iter().map(|(time, exemplars)| {
        let values = exemplars.values().map(|(_, value)| *value);
        let highest = values.max().unwrap_or(0);
        let exemplars = exemplars.iter().map(|((span, trace), (time, value))| {
            let mut exemplar = json!({
                "timestamp": time.to_string(), "spanId": span, "value": value.to_string(),
            });
            if let Some(fields) = exemplar.as_object_mut().filter(|_| !trace.is_empty()) {
                fields.insert("traceId".to_owned(), json!(trace));
            }
            exemplar
        });
        let exemplars: Vec<_> = exemplars.collect();
        json!({
            "timestamp": time.to_string(), "yMin": [highest],
            "counts": [exemplars.len()], "exemplars": exemplars,
        })
    });
    let slots: Vec<_> = slots.collect();
    Ok(json!({"series": [{"labels": pairs(&[]), "slots": slots}]}))
}

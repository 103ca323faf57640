//! `SelectMergeProfile`: the profiles of the query as one pprof, with their files and lines.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::{
    super::{
        refusal::Refusal,
        store::{Store, StoredFrame},
    },
    Question,
};

/// Numbers of things, from 1, in the order in which they are met.
struct Numbered<T> {
    numbers: HashMap<T, usize>,
    things: Vec<T>,
}

impl<T: Clone + Eq + std::hash::Hash> Numbered<T> {
    fn new() -> Self {
        Self {
            numbers: HashMap::new(),
            things: Vec::new(),
        }
    }

    fn number(&mut self, thing: &T) -> usize {
        let next = self.things.len() + 1;
        let number = *self.numbers.entry(thing.clone()).or_insert(next);
        if number == next {
            self.things.push(thing.clone());
        }
        number
    }
}

pub(super) fn merged(question: &Question, store: &Store) -> Result<Value, Refusal> {
    let (mut frames, mut stacks) = (Numbered::<StoredFrame>::new(), HashMap::new());
    for (_, sample) in question.samples(store)? {
        let ids = sample.frames.iter().map(|it| frames.number(it));
        let ids: Vec<_> = ids.map(|it| it.to_string()).collect();
        *stacks.entry(ids).or_insert(0_i64) += sample.value;
    }
    // Number 0 is the empty string.
    let mut strings = Numbered::<String>::new();
    let mut text = |text: &str| strings.number(&text.to_owned()).to_string();
    let mut kinds = question.profile_type.split(':').skip(1).map(&mut text);
    let mut kind = || json!({"type": kinds.next(), "unit": kinds.next()});
    let (sample_type, period_type) = (kind(), kind());
    let numbered = frames.things.iter().zip(1_u64..);
    let functions = numbered.clone().map(|(frame, id)| {
        let (name, file) = (text(&frame.name), text(&frame.file));
        json!({"id": id.to_string(), "name": name, "filename": file})
    });
    let functions: Vec<_> = functions.collect();
    let locations = numbered.map(|(frame, id)| {
        let line = json!({"functionId": id.to_string(), "line": frame.line.to_string()});
        json!({"id": id.to_string(), "mappingId": "1", "line": [line]})
    });
    let samples = stacks
        .iter()
        .map(|(ids, value)| json!({"locationId": ids, "value": [value.to_string()]}));
    let table = [&[String::new()][..], &strings.things].concat();
    Ok(json!({
        "sampleType": [sample_type], "periodType": period_type,
        "sample": samples.collect::<Vec<_>>(),
        "mapping": [{"id": "1", "hasFunctions": true}],
        "location": locations.collect::<Vec<_>>(), "function": functions,
        "stringTable": table,
    }))
}

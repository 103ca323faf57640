use std::collections::BTreeMap;

use super::{Key, NativeFrames, Projected, Projection, SpanLabel};
use crate::{
    health::Health,
    id::Tid,
    join::Attribution,
    profile::samples::{in_child, profiles, roots, sample},
    symbolize::NamedSample,
};

/// Samples by labels.
fn by_labels(projected: &Projected) -> BTreeMap<String, u64> {
    let mut samples = BTreeMap::new();
    for row in &projected.rows {
        let labels = row.labels.iter().flat_map(|part| part.iter());
        let labels: Vec<String> = labels
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        *samples.entry(labels.join(" ")).or_default() += row.sum.samples;
    }
    samples
}

fn in_thread(tid: u32, attribution: Attribution) -> NamedSample {
    NamedSample {
        tid: Tid(tid),
        ..sample(&["i:eval", "work"], attribution)
    }
}

/// Each destination reads the same profile and takes its own selection: rows that differ in none of its labels become
/// one, and no sample is lost.
#[test]
fn several_read_one() {
    let samples = [
        in_thread(1, in_child()),
        in_thread(2, in_child()),
        in_thread(1, Attribution::NoSpan),
        in_thread(2, Attribution::NoSpan),
        in_thread(2, Attribution::NoSpan),
    ];
    let profiles = profiles(&samples, 100, &Health::default());
    let profile = &profiles[0];
    assert_eq!(profile.rows.len(), 4);
    let threads = Projection {
        keys: [Key::Tid].into(),
        ..Projection::default()
    };
    let active = Projection {
        span_label: SpanLabel::Active,
        ..roots()
    };
    let nothing = Projection::default();
    let expected: [(_, &[(&str, u64)]); 4] = [
        (
            roots(),
            &[("", 3), ("span_id=0000000000000001 span_name=GET /", 2)],
        ),
        (
            active,
            &[("", 3), ("span_id=0000000000000002 span_name=child", 2)],
        ),
        (threads, &[("tid=1", 2), ("tid=2", 3)]),
        (nothing, &[("", 5)]),
    ];
    for (projection, expected) in expected {
        let projected = projection.of(profile).remove(0);
        let expected = expected
            .iter()
            .map(|&(labels, samples)| (labels.to_owned(), samples));
        assert_eq!(by_labels(&projected), expected.collect());
        assert_eq!(
            projected.rows.len(),
            by_labels(&projected).len(),
            "{projection:?}"
        );
        assert_eq!(
            projected.sum(),
            profile.rows.iter().map(super::super::Row::sum).sum()
        );
        let is_shown = projected.rows.iter().all(|row| row.stack.len() == 1);
        assert_eq!(is_shown, projection.native == NativeFrames::Merged);
    }
    assert_eq!(
        Projection::whole(SpanLabel::LocalRoot).of(profile)[0]
            .rows
            .len(),
        4
    );
}

/// A row that had no room for all labels says nothing about the span that is not the label mode's.
#[test]
fn few_labels_are_of_one_mode() {
    let samples = [
        sample(&["work"], Attribution::NoSpan),
        in_thread(1, in_child()),
        in_thread(2, in_child()),
    ];
    let profiles = profiles(&samples, 1, &Health::default());
    let of = |mode| {
        let projected = Projection::whole(mode).of(&profiles[0]).remove(0);
        let labels = by_labels(&projected).into_keys();
        let labels = labels.filter(|labels| labels.contains("trace_id"));
        labels.collect::<Vec<_>>()
    };
    let trace = "trace_id=00000000000000010000000000000002 service_name=shop";
    let root = format!("span_id=0000000000000001 span_name=GET / {trace}");
    assert_eq!(of(SpanLabel::LocalRoot), [root]);
    assert_eq!(of(SpanLabel::Active), [trace]);
}

use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, proptest};

use super::{
    Aggregator, Settings, SpanLabel, folded, pprof,
    samples::{TICK, decode, in_child, roots, sample, span, taken},
    split::{Limits, split},
};
use crate::{
    health::{Health, Loss},
    join::Attribution,
    measure::{Kind, Measure},
    symbolize::NamedSample,
};

/// Samples over the budget go to one row, and all are counted.
#[test]
fn stacks_over_budget_are_summed() {
    let health = Health::default();
    let samples: Vec<_> = (0..10)
        .map(|number| sample(&[format!("f{number}").as_str()], Attribution::NoSpan))
        .collect();
    let profiles = taken(&samples, &roots(), 4, &health);
    assert_eq!(profiles[0].rows.len(), 5);
    assert_eq!(profiles[0].sum().samples, 10);
    assert_eq!(health.get(Loss::StackTableFull), 6);
    assert!(folded::folded(&profiles, Kind::Cpu).contains("[other stacks] 6\n"));
}

/// Endless new span ids do not make endless rows.
#[test]
fn label_sets_are_bounded() {
    let health = Health::default();
    let samples: Vec<_> = (1..100)
        .map(|id| {
            let mut context = crate::join::SpanContext {
                trace: None,
                local_root: Some(span(id, "GET /")),
                active: span(id, "GET /"),
            };
            context.active.name = None;
            sample(&["main"], Attribution::Span(context))
        })
        .collect();
    let profiles = taken(&samples, &roots(), 10, &health);
    assert!(profiles[0].rows.len() <= 31, "{}", profiles[0].rows.len());
    assert_eq!(profiles[0].sum().samples, 99);
}

/// Folded stacks are root first, kernel frames marked, separators in names replaced.
#[test]
fn folded_stacks() {
    let samples = [sample(&["k:read", "a;b", "main"], in_child())];
    let profiles = taken(&samples, &roots(), 100, &Health::default());
    insta::assert_snapshot!(folded::folded(&profiles, Kind::Cpu), @"main;a:b;read_[k] 1");
}

/// Measures add up, whatever each sample's is; different kinds are never summed with one another. In pprof each kind is
/// a separate value, and formats with a single number show only one of them.
#[test]
fn kinds_are_kept_apart() {
    let worth = |measure| NamedSample {
        measure,
        ..sample(&["main"], Attribution::NoSpan)
    };
    let blocked = Measure {
        kind: Kind::Blocked,
        nanos: 7_000,
    };
    let samples = [TICK, blocked, Measure::cpu(3 * TICK.nanos), blocked].map(worth);
    let profiles = taken(&samples, &roots(), 100, &Health::default());
    let kinds: Vec<Kind> = profiles.iter().map(|it| it.kind).collect();
    assert_eq!(kinds, [Kind::Cpu, Kind::Blocked]);
    let message = decode(&pprof::encode_merged(&profiles));
    let string = |index: i64| message.string_table[usize::try_from(index).unwrap()].as_str();
    let types = message.sample_type.iter();
    let types: Vec<_> = types
        .map(|it| (string(it.r#type), string(it.unit)))
        .collect();
    assert_eq!(types, [("cpu", "nanoseconds"), ("off_cpu", "nanoseconds")]);
    let period = message.period_type.unwrap();
    assert_eq!((string(period.r#type), message.period), ("cpu", 10_000_000));
    let mut values: Vec<_> = message.sample.iter().map(|it| it.value.clone()).collect();
    values.sort();
    assert_eq!(values, [vec![0, 14_000], vec![40_000_000, 0]]);
    assert_eq!(folded::folded(&profiles, Kind::Cpu), "main 2\n");
    assert_eq!(folded::folded(&profiles, Kind::Blocked), "main 14\n");
    // A type without a clock has no period.
    let message = decode(&pprof::encode(&profiles[1]));
    assert_eq!((message.sample_type.len(), message.period), (1, 0));
    assert_eq!(message.period_type, None);
}

/// A row that alone is over the limit is counted, and the other rows are sent.
#[test]
fn row_too_large_is_counted() {
    let health = Health::default();
    let samples = [
        sample(&["x".repeat(3_000).as_str()], Attribution::NoSpan),
        sample(&["main"], Attribution::NoSpan),
    ];
    let profiles = taken(&samples, &roots(), 100, &health);
    let limits = Limits {
        bytes: 2_000,
        samples: 10,
        apart: 1,
    };
    assert_eq!(split(&profiles[0], limits, &health).len(), 1);
    assert_eq!(health.get(Loss::ProfileTooLarge), 1);
}

/// A sample whose local root is not known is labelled with its active span, which counts as a loss only if local roots
/// were asked for.
#[test]
fn fallback_is_counted_for_local_roots_only() {
    let Attribution::Span(mut context) = in_child() else {
        panic!("not in a span")
    };
    context.local_root = None;
    let sample = sample(&["work"], Attribution::Span(context));
    for (span_label, counted) in [(SpanLabel::LocalRoot, 1), (SpanLabel::Active, 0)] {
        let health = Health::default();
        let settings = Settings {
            tick: TICK,
            span_label,
            max_stacks: 10,
        };
        let mut aggregator = Aggregator::new(settings, health.clone());
        aggregator.add(&sample);
        assert_eq!(
            health.get(Loss::LocalRootUnknown),
            counted,
            "{span_label:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the samples and limits, the parts are within them and add up to the whole.
    #[test]
    fn split_keeps_totals_and_limits(
        stacks in prop::collection::vec(prop::collection::vec(0_u8..40, 1..20), 1..200),
        spans in prop::collection::vec(any::<u64>(), 200),
        bytes in 1_500_usize..10_000,
        samples in 1_usize..50,
    ) {
        let health = Health::default();
        let named: Vec<_> = stacks.iter().zip(&spans).map(|(stack, &id)| {
            let names: Vec<String> = stack.iter().map(|number| format!("function_{number}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let span = span(id.max(1), "GET /");
            let context = crate::join::SpanContext { trace: None, local_root: Some(span.clone()), active: span };
            sample(&names, Attribution::Span(context))
        }).collect();
        let profiles = taken(&named, &roots(), 1_000, &health);
        let limits = Limits { bytes, samples, apart: 1_000_000 };
        let (mut total, mut times) = (0, Vec::new());
        for part in split(&profiles[0], limits, &health) {
            prop_assert!(part.len() <= bytes);
            let message = decode(&part);
            times.push(message.time_nanos);
            prop_assert!(message.sample.len() <= samples);
            total += message.sample.iter().map(|sample| sample.value[0]).sum::<i64>();
        }
        prop_assert_eq!(health.get(Loss::ProfileTooLarge), 0);
        // A destination that keeps one of two that are closer keeps both.
        prop_assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 1_000_000), "{times:?}");
        prop_assert_eq!(total, i64::try_from(stacks.len()).unwrap() * 10_000_000);
    }
}

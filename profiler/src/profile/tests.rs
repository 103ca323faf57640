use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, proptest};
use prost::Message as _;

use super::{
    Aggregator, Key, Projected, Projection, Settings, SpanLabel, SpanTable, folded, pprof, proto,
    samples::{TICK, in_child, profiles, projected, roots, sample, span},
    split::{Limits, split},
};
use crate::{
    health::{Health, Loss},
    join::{Attribution, Reason},
    measure::{Kind, Measure},
    symbolize::NamedSample,
};

/// What a destination takes of the samples of a window with room for `max_stacks` stacks.
fn taken(
    samples: &[NamedSample],
    projection: &Projection,
    max_stacks: usize,
    health: &Health,
) -> Vec<Projected> {
    projected(&profiles(samples, max_stacks, health), projection)
}

fn whole() -> Projection {
    Projection::whole(SpanLabel::LocalRoot)
}

/// A decoded profile as text: header, mappings, then each sample with its stack and labels.
fn text(message: &proto::Profile) -> String {
    let string = |index: i64| message.string_table[usize::try_from(index).unwrap()].as_str();
    let by_id = |id: u64| usize::try_from(id - 1).unwrap();
    let mut lines = vec![format!(
        "{} {} every {} at {} for {}",
        string(message.sample_type[0].r#type),
        string(message.sample_type[0].unit),
        message.period,
        message.time_nanos,
        message.duration_nanos
    )];
    for mapping in &message.mapping {
        assert!(mapping.has_functions && mapping.has_filenames && mapping.has_line_numbers);
        lines.push(format!(
            "mapping {} {}",
            mapping.id,
            string(mapping.filename)
        ));
    }
    let mut samples: Vec<String> = Vec::new();
    for sample in &message.sample {
        let frames = sample.location_id.iter().map(|&id| {
            let location = &message.location[by_id(id)];
            assert_ne!(location.mapping_id, 0);
            let function = &message.function[by_id(location.line[0].function_id)];
            format!("{}:{}", string(function.name), location.line[0].line)
        });
        let labels = sample.label.iter();
        let labels = labels.map(|label| format!("{}={}", string(label.key), string(label.str)));
        samples.push(format!(
            "{} {} [{}]",
            sample.value[0],
            frames.collect::<Vec<_>>().join(" < "),
            labels.collect::<Vec<_>>().join(", ")
        ));
    }
    samples.sort();
    lines.extend(samples);
    lines.join("\n")
}

/// Without names, samples of one span are one row, whatever the span was called: none of them is lost, and the span
/// keeps its id. Files keep the names.
#[test]
fn span_names_can_be_left_out() {
    let renamed = || {
        let Attribution::Span(mut context) = in_child() else {
            panic!("in a span")
        };
        context.local_root = Some(span(1, "GET /renamed"));
        Attribution::Span(context)
    };
    let samples = [
        sample(&["main"], in_child()),
        sample(&["main"], renamed()),
        sample(&["main"], renamed()),
        sample(&["main"], Attribution::NoSpan),
    ];
    let rows = |projection: &Projection| {
        let profiles = taken(&samples, projection, 100, &Health::default());
        let message = decode(&pprof::encode(&profiles[0]));
        let lines = text(&message);
        let rows = lines.lines().filter(|line| line.contains("main:7"));
        rows.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut without = roots();
    without.keys.remove(&Key::SpanName);
    assert_eq!(
        rows(&without),
        [
            "10000000 main:7 []",
            "30000000 main:7 [span_id=0000000000000001]"
        ]
    );
    assert_eq!(rows(&roots()).len(), 3);
    let file = rows(&whole());
    assert!(
        file.iter()
            .any(|row| row.contains("span_name=GET /renamed"))
    );
}

fn decode(bytes: &[u8]) -> proto::Profile {
    proto::Profile::decode(bytes).unwrap()
}

/// Samples become rows with the labels that are wanted, and the interpreter is the first mapping.
#[test]
fn pprof_with_some_labels() {
    let samples = [
        sample(&["k:read", "handle", "main"], in_child()),
        sample(&["k:read", "handle", "main"], in_child()),
        sample(&["main"], Attribution::NoSpan),
    ];
    let profiles = taken(&samples, &roots(), 100, &Health::default());
    assert_eq!(profiles.len(), 1);
    insta::assert_snapshot!(text(&decode(&pprof::encode(&profiles[0]))), @r"
    cpu nanoseconds every 10000000 at 1000000000 for 10000000000
    mapping 1 /usr/bin/python3.12
    mapping 2 [kernel]
    10000000 main:7 []
    20000000 read_[k]:7 < handle:7 < main:7 [span_id=0000000000000001, span_name=GET /]
    ");
}

/// The bytes are those of the same message encoded in the usual way.
#[test]
fn pprof_is_in_order() {
    let samples = [
        sample(&["k:read", "handle", "main"], in_child()),
        sample(&["main"], Attribution::NoSpan),
    ];
    let profiles = taken(&samples, &whole(), 100, &Health::default());
    let bytes = pprof::encode_merged(&profiles);
    assert_eq!(decode(&bytes).encode_to_vec(), bytes);
}

/// Every label can be selected.
#[test]
fn pprof_with_all_labels() {
    let samples = [sample(&["main"], in_child())];
    let profiles = taken(&samples, &whole(), 100, &Health::default());
    insta::assert_snapshot!(text(&decode(&pprof::encode_merged(&profiles))), @r"
    cpu nanoseconds every 10000000 at 1000000000 for 10000000000
    mapping 1 /usr/bin/python3.12
    10000000 main:7 [span_id=0000000000000001, span_name=GET /, trace_id=00000000000000010000000000000002, active_span_id=0000000000000002, active_span_name=child, pid=10, tid=11, thread_name=worker, service_name=shop]
    ");
}

/// Equal frames in different allocations are one location and one function.
#[test]
fn equal_frames_are_one_location() {
    let samples = [
        sample(&["leaf", "main"], Attribution::NoSpan),
        sample(&["main"], Attribution::NoSpan),
    ];
    let mut profiles = taken(&samples, &roots(), 100, &Health::default());
    let other = super::samples::frame("main");
    let mut row = profiles[0].rows[0].clone();
    row.stack = [other].into();
    profiles[0].rows.push(row);
    let message = decode(&pprof::encode(&profiles[0]));
    assert_eq!((message.location.len(), message.function.len()), (2, 2));
}

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

/// A string that is too long keeps its start and is marked as cut; a stack keeps its leaf.
#[test]
fn long_strings_and_stacks_are_cut() {
    let long = "é".repeat(40_000);
    let deep: Vec<&str> = std::iter::once(long.as_str())
        .chain(std::iter::repeat_n("main", 1_500))
        .collect();
    let samples = [sample(&deep, Attribution::NoSpan)];
    let profiles = taken(&samples, &roots(), 100, &Health::default());
    let message = decode(&pprof::encode(&profiles[0]));
    assert_eq!(message.sample[0].location_id.len(), pprof::MAX_DEPTH);
    assert_eq!(message.sample[0].location_id[0], 1);
    let cut = message
        .string_table
        .iter()
        .find(|text| text.starts_with('é'));
    let cut = cut.unwrap();
    assert!(cut.len() <= pprof::MAX_STRING && cut.ends_with('…'));
    assert!(
        message
            .string_table
            .iter()
            .any(|text| text == "[truncated]")
    );
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

/// The table sorts by CPU, names the rows without a span, and adds up.
#[test]
fn span_table() {
    let mut table = SpanTable::new(SpanLabel::LocalRoot);
    table.span_seen(Some(&"GET /".into()), true);
    table.span_seen(Some(&"child".into()), false);
    for _ in 0..3 {
        table.add(&sample(&["work", "main"], in_child()));
    }
    table.add(&sample(&["idle", "main"], Attribution::NoSpan));
    table.add(&sample(
        &["loop"],
        Attribution::Unattributed(Reason::EventLoop),
    ));
    assert_eq!(table.samples(), 5);
    insta::assert_snapshot!(table.render(100), @r"
    SPAN                          SPANS        CPU   SHARE  TOP FUNCTION
    GET /                             1     0.03 s  60.0 %  work
    (no span)                         -     0.01 s  20.0 %  idle
    (unattributed: event loop)        -     0.01 s  20.0 %  loop
    total                             1     0.05 s  100.0 %
    ");
}

/// Span names are bounded: later ones are summed.
#[test]
fn span_names_are_bounded() {
    let mut table = SpanTable::new(SpanLabel::LocalRoot);
    for number in 0..super::span_table::MAX_NAMES + 5 {
        table.span_seen(Some(&format!("span {number}").into()), true);
    }
    let rows = table.rows();
    let other = rows
        .iter()
        .find(|row| row.name == super::span_table::RowName::OtherSpans);
    assert_eq!(other.unwrap().spans, 5);
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

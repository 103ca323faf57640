use prost::Message as _;

use super::{MAX_DEPTH, MAX_STRING, encode, encode_merged};
use crate::{
    health::Health,
    join::Attribution,
    profile::{
        Key, Projection, proto,
        samples::{decode, frame, in_child, roots, sample, span, taken, whole},
    },
};

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
        let message = decode(&encode(&profiles[0]));
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
    // A renamed span has one name.
    assert_eq!(rows(&roots()).len(), 2);
    let file = rows(&whole());
    assert!(
        file.iter()
            .any(|row| row.contains("span_name=GET /renamed"))
    );
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
    insta::assert_snapshot!(text(&decode(&encode(&profiles[0]))), @r"
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
    let bytes = encode_merged(&profiles);
    assert_eq!(decode(&bytes).encode_to_vec(), bytes);
}

/// Every label can be selected.
#[test]
fn pprof_with_all_labels() {
    let samples = [sample(&["main"], in_child())];
    let profiles = taken(&samples, &whole(), 100, &Health::default());
    insta::assert_snapshot!(text(&decode(&encode_merged(&profiles))), @r"
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
    let other = frame("main");
    let mut row = profiles[0].rows[0].clone();
    row.stack = [other].into();
    profiles[0].rows.push(row);
    let message = decode(&encode(&profiles[0]));
    assert_eq!((message.location.len(), message.function.len()), (2, 2));
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
    let message = decode(&encode(&profiles[0]));
    assert_eq!(message.sample[0].location_id.len(), MAX_DEPTH);
    assert_eq!(message.sample[0].location_id[0], 1);
    let cut = message
        .string_table
        .iter()
        .find(|text| text.starts_with('é'));
    let cut = cut.unwrap();
    assert!(cut.len() <= MAX_STRING && cut.ends_with('…'));
    assert!(
        message
            .string_table
            .iter()
            .any(|text| text == "[truncated]")
    );
}

/// Without a sample it is a profile all the same, of the type that a profile with samples has: readers refuse an empty
/// file.
#[test]
fn no_samples_are_a_profile() {
    let empty = encode_merged(&[]);
    assert_eq!(text(&decode(&empty)), "cpu nanoseconds every 0 at 0 for 0");
}

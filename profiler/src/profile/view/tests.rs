use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use proptest::prelude::{
    Just, ProptestConfig, Strategy, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

use super::{NativeFrames, Stacks};
use crate::{
    health::Health,
    join::{Attribution, SpanContext},
    measure::Kind,
    profile::{
        Profile, Projected, Projection,
        folded::folded,
        samples::{in_child, profiles, roots, sample, span},
    },
    symbolize::{FrameKind, NamedSample},
};

const MODES: [NativeFrames; 3] = [
    NativeFrames::PythonOnly,
    NativeFrames::Merged,
    NativeFrames::Full,
];

/// The only profile of these samples.
fn profile(samples: &[NamedSample]) -> Profile {
    let mut profiles = profiles(samples, 10_000, &Health::default());
    profiles.remove(0)
}

/// A profile as shown in a mode.
fn view(profile: &Profile, native: NativeFrames) -> Projected {
    let projection = Projection { native, ..roots() };
    projection.of(profile).remove(0)
}

/// A stack, leaf first, as it is shown, root first.
fn shown(stack: &[&str], native: NativeFrames) -> String {
    let profile = profile(&[sample(stack, Attribution::NoSpan)]);
    let lines = folded(&[view(&profile, native)], Kind::Cpu);
    lines.strip_suffix(" 1\n").unwrap().to_owned()
}

/// Each kind of stack as shown, mode by mode.
#[test]
fn stacks_by_mode() {
    use NativeFrames::{Full, Merged, PythonOnly};
    let of = |stack: &[&str], modes: [&str; 3]| {
        let found = [PythonOnly, Merged, Full].map(|native| shown(stack, native));
        assert_eq!(found, modes, "{stack:?}");
    };
    // The interpreter's machinery is part of the Python frame it runs.
    let all = "main;work;_PyObject_Free";
    of(
        &["i:_PyObject_Free", "work", "main"],
        ["main;work", "main;work", all],
    );
    // A library stays, also if machinery lies between it and the Python frame, and so does the kernel.
    of(
        &["n:memcpy", "i:bytes_join", "work", "main"],
        [
            "main;work",
            "main;work;memcpy",
            "main;work;bytes_join;memcpy",
        ],
    );
    let all = "main;work;os_read;read_[k]";
    of(
        &["k:read", "i:os_read", "work", "main"],
        ["main;work", "main;work;read_[k]", all],
    );
    // Without a Python frame it is part of none.
    let start = "_start;Py_RunMain";
    of(&["i:Py_RunMain", "n:_start"], [start; 3]);
    // Code without a symbol becomes the library, once for all calls within it.
    let stack = [
        "n:libc.so.6+0x9",
        "n:libc.so.6+0x5",
        "n:run",
        "n:libc.so.6+0x1",
        "work",
    ];
    let merged = "work;libc.so.6 (no symbol);run;libc.so.6 (no symbol)";
    let all = "work;libc.so.6+0x1;run;libc.so.6+0x5;libc.so.6+0x9";
    of(&stack, ["work", merged, all]);
    // Markers that say that something is missing stay.
    let marked = "main;work;[unknown mapping]";
    of(
        &["m:[unknown mapping]", "i:call", "work", "main"],
        [marked, marked, "main;work;call;[unknown mapping]"],
    );
}

/// Rows that have become equal are one; those with other labels are not.
#[test]
fn equal_rows_are_one() {
    let samples = [
        sample(&["i:a", "work"], Attribution::NoSpan),
        sample(&["i:b", "work"], Attribution::NoSpan),
        sample(&["i:b", "work"], in_child()),
        sample(&["work"], Attribution::NoSpan),
        sample(&["work"], Attribution::NoSpan),
    ];
    let profile = profile(&samples);
    assert_eq!(profile.rows.len(), 4);
    let shown = view(&profile, NativeFrames::Merged);
    let counts: HashSet<u64> = shown.rows.iter().map(|row| row.sum.samples).collect();
    assert_eq!(counts, HashSet::from([1, 4]));
    assert_eq!(shown.rows.len(), 2);
}

/// Samples by the number of their span.
fn by_labels(profile: &Projected) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for row in &profile.rows {
        let labels = format!("{:?}", row.labels);
        *counts.entry(labels).or_default() += row.sum.samples;
    }
    counts
}

/// A stack as the symbolizer makes them: kernel, native, Python, a marker; any of them may be missing.
fn stack() -> impl Strategy<Value = Vec<String>> {
    let some = |prefix: &'static str, most: usize| {
        let name = (0_u8..4).prop_map(move |number| format!("{prefix}{number}"));
        prop::collection::vec(name, 0..most)
    };
    let native = prop_oneof![
        Just("n:f"),
        Just("n:libc.so.6+0x"),
        Just("i:f"),
        Just("i:python3+0x"),
        Just("m:f")
    ];
    let native = prop::collection::vec((native, 0_u8..4), 0..5).prop_map(|frames| {
        frames
            .iter()
            .map(|(name, number)| format!("{name}{number}"))
            .collect()
    });
    let marker = prop_oneof![Just(Vec::new()), Just(vec!["m:[truncated]".to_owned()])];
    (some("k:f", 3), native, some("f", 4), marker)
        .prop_map(|(kernel, native, python, marker): (_, Vec<String>, _, _)| {
            [kernel, native, python, marker].concat()
        })
        .prop_filter("a stack has frames", |stack| !stack.is_empty())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the samples: none is lost or gets another's labels, no row is there twice, frames keep their order and
    /// Python frames all stay, no machinery is left above one, and a shown stack that is shown again does not change.
    #[test]
    fn views_are_true(samples in prop::collection::vec((stack(), 1_u64..4, 1_usize..4), 1..60)) {
        let named: Vec<NamedSample> = samples.iter().flat_map(|(stack, id, times)| {
            let stack: Vec<&str> = stack.iter().map(String::as_str).collect();
            let span = span(*id, "GET /");
            let context = SpanContext { trace: None, local_root: Some(span.clone()), active: span };
            vec![sample(&stack, Attribution::Span(context)); *times]
        }).collect();
        let profile = profile(&named);
        for native in MODES {
            let shown = view(&profile, native);
            prop_assert_eq!(by_labels(&shown), by_labels(&view(&profile, NativeFrames::Full)));
            let mut again = Stacks::new(native, 1);
            for row in &shown.rows {
                let number = again.number(&row.stack);
                prop_assert_eq!(again.shown(number), Some(&row.stack));
            }
            let rows: HashSet<_> = shown.rows.iter().map(|row| (&row.stack, &row.labels)).collect();
            prop_assert_eq!(rows.len(), shown.rows.len());
            for row in &shown.rows {
                let python = row.stack.iter().position(|frame| frame.kind == FrameKind::Python);
                let above = &row.stack[..python.unwrap_or(0)];
                let hidden = |kind| match native {
                    NativeFrames::PythonOnly => kind != FrameKind::Marker,
                    NativeFrames::Merged => kind == FrameKind::Interpreter,
                    NativeFrames::Full => false,
                };
                prop_assert!(!above.iter().any(|frame| hidden(frame.kind)), "{:?}", row.stack);
                let nameless = row.stack.iter().filter(|frame| frame.name.contains("+0x"));
                prop_assert!(native == NativeFrames::Full || nameless.count() == 0);
            }
            // Each row separately: its frames are some of those it had, in their order.
            for row in &profile.rows {
                let alone = Profile { rows: vec![row.clone()], ..profile.clone() };
                let shown = view(&alone, native);
                let mut left = row.stack.iter();
                for frame in shown.rows[0].stack.iter() {
                    let is_it = |it: &&Arc<_>| *it == frame || (!it.is_named && it.mapping == frame.mapping);
                    prop_assert!(left.any(|it| is_it(&it)), "{frame:?} of {:?}", row.stack);
                }
                let python = |stack: &[Arc<crate::symbolize::Frame>]| {
                    stack.iter().filter(|frame| frame.kind == FrameKind::Python).cloned().collect::<Vec<_>>()
                };
                prop_assert_eq!(python(&shown.rows[0].stack), python(&row.stack));
            }
        }
    }
}

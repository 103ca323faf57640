//! Recorded bytes of the ring → profiles as text: the data plane without native and kernel frames, whose names depend
//! on this machine. Needs no privileges.
//!
//! The records are of `tests/programs`, kept with `spanprof record --keep-records` on a Debian 12
//! with its own CPython 3.11 (`records/README.md`).

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests panic like tests"
)]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use profiler::{
    events::{self, Event, records},
    export::pyroscope,
    health::Health,
    id::{ProcessKey, Service},
    kernel::Limits,
    measure::Measure,
    pipeline::Pipeline,
    profile::{self, Projected, Projection, SpanLabel, Window, pprof, proto},
    targets::{Snapshot, SpansSeen, Target},
    time::{BootNanos, UnixNanos},
};
use proptest::prelude::{ProptestConfig, any, prop, prop_assert, prop_assert_eq, proptest};
use prost::Message as _;

const TICK: Measure = Measure::cpu(10_000_000);
const CASES: [&str; 5] = [
    "nested",
    "without_package",
    "interleaved",
    "event_loop",
    "ended_elsewhere",
];

fn bytes(case: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records");
    fs::read(folder.join(PathBuf::from(case).with_extension("bin"))).unwrap()
}

/// Feeds records to a pipeline that profiles the process of the first sample.
fn run(bytes: &[u8], projection: &Projection, health: &Health) -> Vec<Projected> {
    let settings = profile::Settings {
        tick: TICK,
        span_label: projection.span_label,
        max_stacks: 1000,
    };
    let mut pipeline = Pipeline::new(settings, Limits::default().remembered(2), health.clone());
    let events: Vec<Event> = records(bytes)
        .filter_map(|record| pipeline.decode(record))
        .collect();
    let sampled = events.iter().find_map(|event| match event {
        Event::Sample(sample) => Some(sample.process),
        _ => None,
    });
    let target = sampled.map(|process: ProcessKey| {
        Arc::new(Target {
            process,
            container: None,
            service: Arc::new(Service {
                name: "shop".to_owned(),
                namespace: String::new(),
                ..Service::default()
            }),
            mappings: Arc::from([]),
            interpreter: None,
            spans: SpansSeen::NotYet,
            unread_spans: [].into(),
        })
    });
    pipeline.set_snapshot(&target.into_iter().collect::<Snapshot>(), BootNanos(0));
    for mut event in events {
        if let Event::Sample(sample) = &mut event {
            // Their names depend on the kernel and the files of this machine.
            sample.stack.kernel.clear();
            sample.stack.native.clear();
        }
        pipeline.take(event);
    }
    let window = Window {
        start: UnixNanos(0),
        duration_nanos: 1_000_000_000,
    };
    let profiles = pipeline.finish(window);
    profiles.iter().flat_map(|it| projection.of(it)).collect()
}

/// Samples by stack (leaf last) and labels.
fn text(profile: &proto::Profile) -> String {
    let string = |index: i64| profile.string_table[usize::try_from(index).unwrap()].as_str();
    let by_id = |id: u64| usize::try_from(id - 1).unwrap();
    let mut rows: BTreeMap<(String, String), i64> = BTreeMap::new();
    for sample in &profile.sample {
        let frames = sample.location_id.iter().rev().map(|&id| {
            let line = &profile.location[by_id(id)].line[0];
            let function = &profile.function[by_id(line.function_id)];
            format!("{}:{}", string(function.name), line.line)
        });
        let labels = sample.label.iter();
        let labels = labels.map(|label| format!("{}={}", string(label.key), string(label.str)));
        let key = (
            labels.collect::<Vec<_>>().join(" "),
            frames.collect::<Vec<_>>().join(" > "),
        );
        *rows.entry(key).or_default() += sample.value[0];
    }
    let mut text = String::new();
    let mut before = None;
    for ((labels, stack), value) in rows {
        if before.as_ref() != Some(&labels) {
            writeln!(text, "[{labels}]").unwrap();
            before = Some(labels);
        }
        writeln!(text, "  {value:>10}  {stack}").unwrap();
    }
    text
}

fn as_text(case: &str, projection: &Projection) -> String {
    let health = Health::default();
    let profiles = run(&bytes(case), projection, &health);
    let profiles = profiles
        .iter()
        .map(|it| text(&proto::Profile::decode(pprof::encode(it).as_slice()).unwrap()));
    let profiles: String = profiles.collect();
    format!("{profiles}\n{}", health.table())
}

/// What is sent to Pyroscope, by the local root.
#[test]
fn pushed() {
    for case in CASES {
        let projection = pyroscope::projection(SpanLabel::LocalRoot, true, false);
        insta::assert_snapshot!(format!("pushed_{case}"), as_text(case, &projection));
    }
}

/// What is written to a file, by the active span.
#[test]
fn written() {
    for case in CASES {
        let projection = Projection::whole(SpanLabel::Active);
        insta::assert_snapshot!(format!("written_{case}"), as_text(case, &projection));
    }
}

/// Samples that are attributed, unattributed by some reason, or lost by some reason.
fn accounted(health: &Health) -> u64 {
    let parts = ["samples_attributed", "samples_unattributed", "samples_lost"];
    parts.iter().map(|part| health.total(part).unwrap()).sum()
}

/// Every sample on the ring is in the profile: none is lost, and none is counted twice.
#[test]
fn nothing_is_lost() {
    for case in CASES {
        let bytes = bytes(case);
        let health = Health::default();
        let samples = records(&bytes).filter_map(|record| events::decode(record).ok());
        let samples = samples.filter(|event| matches!(event, Event::Sample(_)));
        let profiles = run(&bytes, &Projection::whole(SpanLabel::Active), &health);
        let exported: i64 = profiles
            .iter()
            .map(|it| proto::Profile::decode(pprof::encode(it).as_slice()).unwrap())
            .flat_map(|it| it.sample)
            .map(|sample| sample.value[0])
            .sum();
        let taken = i64::try_from(samples.count()).unwrap();
        assert!(taken > 20, "{case}");
        assert_eq!(accounted(&health), taken.unsigned_abs(), "{case}");
        assert_eq!(
            exported,
            taken * i64::try_from(TICK.nanos).unwrap(),
            "{case}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Records that a broken kernel or a hostile process has damaged are only counted.
    #[test]
    fn damaged_records_are_survived(
        case in prop::sample::select(CASES.as_slice()),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..200),
    ) {
        let mut bytes = bytes(case);
        for (index, value) in damage {
            let index = index.index(bytes.len());
            bytes[index] = value;
        }
        let health = Health::default();
        let profiles = run(&bytes, &Projection::whole(SpanLabel::LocalRoot), &health);
        let taken = records(&bytes).filter(|it| events::is_sample(it)).count();
        prop_assert_eq!(accounted(&health), taken as u64, "{}", health.table());
        for profile in profiles {
            let decoded = proto::Profile::decode(pprof::encode(&profile).as_slice());
            prop_assert!(decoded.is_ok());
        }
    }
}

//! How many samples a second one core takes from the bytes of the ring to the bytes of a pprof file.
//!
//! The records are made up, so that their stacks are of a known kind: 30 Python frames over 8 native ones, in one of 50
//! requests. `cargo xtask bench --only pipeline` runs it and publishes the result.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot start says so by a panic"
)]

use std::{hint::black_box, path::Path, sync::Arc, time::Duration};

use bytemuck::{Zeroable as _, bytes_of};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use profiler::{
    events::Event,
    export::pyroscope,
    health::Health,
    id::{Pid, ProcessKey, Service},
    kernel::Limits,
    measure::Measure,
    pipeline::Pipeline,
    profile::{self, NativeFrames, Profile, Projected, Projection, SpanLabel, Window, pprof},
    targets::{Interpreter, Mapping, Snapshot, SpansSeen, Target, mappings, symbols},
    time::{BootNanos, UnixNanos},
};
use profiler_common::{
    event::{CodeRecord, Header, PythonFrame, SampleRecord, SpanSeenRecord, kind},
    outcome::Outcome,
    python::line_table,
    span::{source, state},
};

/// Samples of one measurement: as many as in a window of a busy host.
const SAMPLES: u32 = 20_000;
const PYTHON_FRAMES: u32 = 30;
const NATIVE_FRAMES: u64 = 8;
const CODES: u32 = 400;
const SPANS: u32 = 50;
/// Stacks that come again and again.
const WARM_STACKS: u32 = 500;
/// Rows of the largest window that is shown, and the most Python stacks if they repeat.
const SHOWN_ROWS: u32 = 60_000;
const SHOWN_STACKS: u32 = 20_000;
/// A call and a line of a function each.
const LINES: u32 = 20;
const BYTES_A_LINE: u32 = 16;
const WINDOW: Window = Window {
    start: UnixNanos(0),
    duration_nanos: 15_000_000_000,
};

fn process() -> ProcessKey {
    ProcessKey {
        pid: Pid(std::process::id()),
        start_time: 1,
    }
}

fn header(kind: u32, size: usize) -> Header {
    Header {
        kind,
        size: u32::try_from(size).unwrap(),
        time: 1_000,
        tgid: process().pid.0,
        tid: process().pid.0,
    }
}

fn code_address(number: u32) -> u64 {
    0x10_0000 + 256 * u64::from(number)
}

/// A code object of twenty lines.
fn code(number: u32) -> Vec<u8> {
    let name = format!("Service.method_{number}");
    let file = format!("/srv/app/package/module_{}.py", number % 40);
    // Entries of `PY_CODE_LOCATION_INFO_ONE_LINE1`: eight units of code each, one line on.
    let table: Vec<u8> = (0..LINES)
        .flat_map(|_| [0x80 | 11 << 3 | 7, 0, 10])
        .collect();
    let size = size_of::<CodeRecord>() + name.len() + file.len() + table.len();
    let record = CodeRecord {
        header: header(kind::CODE, size),
        process_start: process().start_time,
        code: code_address(number),
        checksum: number,
        first_line: 10,
        name_size: u16::try_from(name.len()).unwrap(),
        file_size: u16::try_from(file.len()).unwrap(),
        table_size: u32::try_from(table.len()).unwrap(),
        name_kind: 1,
        file_kind: 1,
        line_table_format: line_table::LOCATIONS,
        ..CodeRecord::zeroed()
    };
    [bytes_of(&record), name.as_bytes(), file.as_bytes(), &table].concat()
}

fn span_id(number: u32) -> u64 {
    0xabcd_0000 + u64::from(number % SPANS)
}

/// A request that a sample has found.
fn span(number: u32) -> Vec<u8> {
    let text = format!("GET /route/{}", number % 10);
    let mut name = [0; 256];
    name[..text.len()].copy_from_slice(text.as_bytes());
    let record = SpanSeenRecord {
        header: header(kind::SPAN_SEEN, size_of::<SpanSeenRecord>()),
        trace_id_low: 7,
        span_id: span_id(number),
        name_size: u32::try_from(text.len()).unwrap(),
        name_kind: 1,
        name,
        ..SpanSeenRecord::zeroed()
    };
    bytes_of(&record).to_vec()
}

/// A sample of the stack with a number.
fn sample(number: u32, stack: u32, native: &[u64]) -> Vec<u8> {
    let frames: Vec<PythonFrame> = (0..PYTHON_FRAMES)
        .map(|depth| {
            // The stacks differ in the line of each call, as numbers differ in their digits.
            let digit = stack.checked_div(LINES.pow(depth.min(6))).unwrap_or(0);
            let line = if depth > 6 { 3 } else { digit % LINES };
            let code = (depth * 13 + stack % 7) % CODES;
            PythonFrame {
                code: code_address(code),
                checksum: code,
                instruction: i32::try_from(line * BYTES_A_LINE).unwrap(),
            }
        })
        .collect();
    sample_with(number, &frames, native)
}

/// A sample of these frames.
fn sample_with(number: u32, frames: &[PythonFrame], native: &[u64]) -> Vec<u8> {
    let tail = frames.iter().flat_map(|frame| bytes_of(frame).to_vec());
    let addresses = native.iter().flat_map(|address| address.to_le_bytes());
    let size = size_of::<SampleRecord>() + native.len() * 8 + size_of_val(frames);
    let record = SampleRecord {
        header: header(kind::SAMPLE, size),
        process_start: process().start_time,
        thread_name: *b"worker\0\0\0\0\0\0\0\0\0\0",
        trace_id_low: 7,
        span_id: span_id(number),
        span_state: state::ACTIVE,
        span_source: source::CONTEXT,
        python_outcome: Outcome::Complete as u32,
        native_outcome: Outcome::Complete as u32,
        native_frames: u16::try_from(native.len()).unwrap(),
        python_frames: u16::try_from(frames.len()).unwrap(),
        ..SampleRecord::zeroed()
    };
    let fixed = bytes_of(&record).iter().copied();
    fixed.chain(tail).chain(addresses).collect()
}

/// This process as a target: its own code stands for a service's native code.
struct Own {
    target: Arc<Target>,
    /// Addresses in a library, and last one in the program.
    native: Vec<u64>,
    /// Addresses in three functions of the program.
    machinery: [u64; 3],
}

impl Own {
    fn new() -> Self {
        let all = mappings::read(process().pid).unwrap();
        let program = std::env::current_exe().unwrap();
        let of = |is_it: &dyn Fn(&Mapping) -> bool| all.iter().find(|it| is_it(it)).unwrap();
        let own = of(&|mapping| Path::new(&*mapping.path) == program);
        let library = of(&|mapping| mapping.path.contains("libc"));
        let step = (library.addresses.end - library.addresses.start) / (NATIVE_FRAMES + 1);
        let mut native: Vec<u64> = (1..NATIVE_FRAMES)
            .map(|number| library.addresses.start + step * number)
            .collect();
        native.push(own.addresses.start + 4096);
        let quarter = (own.addresses.end - own.addresses.start) / 4;
        let machinery = [1, 2, 3].map(|quarters| own.addresses.start + quarter * quarters);
        let interpreter = Interpreter {
            version: (3, 13, 0),
            file: own.file,
            path: own.path.clone(),
            build_id: "".into(),
            evaluation_loop: 0..0,
            is_alone: true,
        };
        let target = Target {
            process: process(),
            service: Arc::new(Service {
                name: "shop".to_owned(),
                namespace: String::new(),
                ..Service::default()
            }),
            container: None,
            mappings: all.into(),
            interpreter: Some(Arc::new(interpreter)),
            spans: SpansSeen::Since(BootNanos(0)),
            unread_spans: [].into(),
        };
        Self {
            target: Arc::new(target),
            native,
            machinery,
        }
    }

    /// A pipeline that has seen these records, and the symbols of all code.
    fn pipeline(&self, before: &[Vec<u8>]) -> Pipeline {
        let settings = profile::Settings {
            tick: Measure::tick(99),
            span_label: SpanLabel::LocalRoot,
            max_stacks: 100_000,
        };
        let mut pipeline =
            Pipeline::new(settings, Limits::default().remembered(2), Health::default());
        pipeline.set_snapshot(
            &Snapshot::from_iter([Arc::clone(&self.target)]),
            BootNanos(0),
        );
        let all: Vec<u64> = self.native.iter().chain(&self.machinery).copied().collect();
        take(&mut pipeline, &[sample_with(0, &[], &all)]);
        for wanted in pipeline.take_wanted() {
            pipeline.learn_symbols(&wanted, symbols::read(&wanted));
        }
        pipeline.turn(BootNanos(0));
        assert!(!pipeline.is_waiting());
        pipeline.finish(WINDOW);
        take(&mut pipeline, before);
        pipeline
    }
}

fn take(pipeline: &mut Pipeline, records: &[Vec<u8>]) {
    for record in records {
        let event = pipeline.decode(record).unwrap();
        pipeline.take(event);
    }
}

/// From records to the bytes of a profile.
fn whole_way(mut pipeline: Pipeline, records: &[Vec<u8>]) -> Vec<u8> {
    take(&mut pipeline, records);
    let profiles = pipeline.finish(WINDOW);
    let samples: u64 = profiles.iter().map(Profile::samples).sum();
    assert!(samples >= records.len() as u64, "{samples}");
    pprof::encode_merged(&projected(&profiles, NativeFrames::Full))
}

/// What is sent to a Pyroscope of profiles, with these frames.
fn projected(profiles: &[Profile], native: NativeFrames) -> Vec<Projected> {
    let projection = Projection {
        native,
        ..pyroscope::projection(SpanLabel::LocalRoot, true, false)
    };
    profiles.iter().flat_map(|it| projection.of(it)).collect()
}

fn pipeline(criterion: &mut Criterion) {
    let own = Own::new();
    let mut known: Vec<Vec<u8>> = (0..CODES).map(code).collect();
    known.extend((0..SPANS).map(span));
    let warm: Vec<Vec<u8>> = (0..SAMPLES)
        .map(|number| sample(number, number % WARM_STACKS, &own.native))
        .collect();
    let unique: Vec<Vec<u8>> = (0..SAMPLES)
        .map(|number| sample(number, number, &own.native))
        .collect();
    let mut group = criterion.benchmark_group("pipeline");
    group
        .throughput(Throughput::Elements(SAMPLES.into()))
        .measurement_time(Duration::from_secs(5))
        .sample_size(20);
    let seen: Vec<Vec<u8>> = known.iter().chain(&warm).cloned().collect();
    for (name, before, records) in [("warm", &seen, &warm), ("unique", &known, &unique)] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || {
                    let mut pipeline = own.pipeline(before);
                    // Another window: the sums are gone, names are kept.
                    pipeline.finish(WINDOW);
                    pipeline
                },
                |pipeline| whole_way(pipeline, records),
                BatchSize::PerIteration,
            );
        });
    }
    // The stages one by one, for the hot stacks.
    group.bench_function("decode", |bencher| {
        let pipeline = own.pipeline(&[]);
        bencher.iter(|| {
            for record in &warm {
                black_box(pipeline.decode(black_box(record)));
            }
        });
    });
    group.bench_function("take", |bencher| {
        bencher.iter_batched(
            || {
                let pipeline = own.pipeline(&seen);
                let events = warm.iter().filter_map(|record| pipeline.decode(record));
                let events: Vec<Event> = events.collect();
                (pipeline, events)
            },
            |(mut pipeline, events)| {
                for event in events {
                    pipeline.take(event);
                }
                pipeline
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("encode", |bencher| {
        let profiles = own.pipeline(&seen).finish(WINDOW);
        bencher.iter(|| {
            let projected = projected(black_box(&profiles), NativeFrames::Full);
            pprof::encode_merged(&projected)
        });
    });
    group.finish();
}

/// The cost of showing a profile, compared with encoding it unchanged: with each Python stack met in three functions of
/// the interpreter, and with no stack met twice.
fn shown(criterion: &mut Criterion) {
    let own = Own::new();
    let known: Vec<Vec<u8>> = (0..CODES).map(code).chain((0..SPANS).map(span)).collect();
    let mut group = criterion.benchmark_group("shown");
    group
        .throughput(Throughput::Elements(SHOWN_ROWS.into()))
        .measurement_time(Duration::from_secs(5))
        .sample_size(20);
    for (name, stacks) in [("repeated", SHOWN_STACKS), ("unique", SHOWN_ROWS)] {
        let mut pipeline = own.pipeline(&known);
        for number in 0..SHOWN_ROWS {
            let leaf = own.machinery[(number / SHOWN_STACKS) as usize];
            let record = sample(number, number % stacks, &[leaf]);
            take(&mut pipeline, &[record]);
        }
        let profiles = pipeline.finish(WINDOW);
        assert_eq!(profiles[0].rows.len(), SHOWN_ROWS as usize);
        let rows = projected(&profiles, NativeFrames::Merged)[0].rows.len();
        assert_eq!(rows, stacks as usize);
        group.bench_function(format!("{name}/encode"), |bencher| {
            bencher.iter(|| {
                pprof::encode_merged(&projected(black_box(&profiles), NativeFrames::Full))
            });
        });
        group.bench_function(format!("{name}/view"), |bencher| {
            bencher.iter(|| projected(black_box(&profiles), NativeFrames::Merged));
        });
        group.bench_function(format!("{name}/view and encode"), |bencher| {
            bencher.iter(|| {
                pprof::encode_merged(&projected(black_box(&profiles), NativeFrames::Merged))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, pipeline, shown);
criterion_main!(benches);

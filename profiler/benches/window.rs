//! What a window of a busy host keeps, and how much memory that takes: many threads, each always in a separate request.
//! Made up after a host of two CPUs at 4999 Hz, and one of eight. `cargo bench -p profiler --bench window` prints a
//! line of JSON for each.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark that cannot go on says so by a panic, and its results on stdout"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use profiler::{
    events::ThreadName,
    health::{Health, Loss},
    id::{Pid, Service, SpanId, Tid, TraceId},
    join::{Attribution, NamedSpan, SpanContext},
    measure::Measure,
    profile::{self, Aggregator, Profile, SpanLabel, Window},
    symbolize::{Frame, FrameKind, MappedFile, NamedSample},
    time::{BootNanos, UnixNanos, monotonic_now},
};

const PROCESSES: u32 = 4;
const THREADS: u32 = 16;
/// Samples of one request, and how many stacks they are spread over.
const OF_A_REQUEST: u64 = 4;
const LEAVES: u64 = 10;
const FRAMES: u32 = 30;
const MAX_STACKS: usize = 100_000;

/// Counts bytes.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does everything, with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let used = USED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(used, Ordering::Relaxed);
        // SAFETY: the caller promises what the system's allocator needs.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    // Two CPUs at 4999 Hz for 15 s, and eight.
    for samples in [150_000, 600_000] {
        println!("{}", measure(samples));
    }
}

/// What is kept of this many samples.
fn measure(samples: u64) -> String {
    let health = Health::default();
    let settings = profile::Settings {
        tick: Measure::tick(4_999),
        span_label: SpanLabel::LocalRoot,
        max_stacks: MAX_STACKS,
    };
    let host = Host::new();
    let mut aggregator = Aggregator::new(settings, health.clone());
    let before = USED.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    let start = monotonic_now();
    for number in 0..samples {
        aggregator.add(&host.sample(number));
    }
    let each = start.elapsed().as_nanos() as f64 / samples as f64;
    let summed = USED.load(Ordering::Relaxed) - before;
    let most = MOST.load(Ordering::Relaxed) - before;
    let profiles = aggregator.finish(Window {
        start: UnixNanos(0),
        duration_nanos: 15_000_000_000,
    });
    drop(aggregator);
    let finished = USED.load(Ordering::Relaxed) - before;
    let rows: usize = profiles.iter().map(|profile| profile.rows.len()).sum();
    let all: u64 = profiles.iter().map(Profile::samples).sum();
    assert_eq!(all, samples);
    let folded = health.get(Loss::StackTableFull);
    format!(
        r#"{{"samples": {samples}, "rows": {rows}, "in_other_stacks": {folded}, "bytes": {summed}, "bytes_at_most": {most}, "bytes_of_profiles": {finished}, "nanoseconds_a_sample": {each:.0}}}"#
    )
}

/// Threads that burn CPU in requests.
struct Host {
    service: Arc<Service>,
    container: Arc<str>,
    names: Vec<Arc<str>>,
    child: Arc<str>,
    /// By thread and leaf.
    stacks: Vec<Arc<[Arc<Frame>]>>,
}

impl Host {
    fn new() -> Self {
        let mapping = Arc::new(MappedFile {
            path: "/usr/bin/python3.12".to_owned(),
            build_id: String::new(),
        });
        let frame = |name: String, line: u32| {
            Arc::new(Frame {
                kind: FrameKind::Python,
                name: name.into(),
                is_named: true,
                file: "/srv/app.py".into(),
                line,
                start_line: 1,
                mapping: Arc::clone(&mapping),
            })
        };
        let callers: Vec<Arc<Frame>> = (0..FRAMES)
            .map(|depth| frame(format!("deep_{depth}"), depth))
            .collect();
        let stacks = (0..PROCESSES * THREADS).flat_map(|thread| {
            let entry = frame(format!("work_{thread}"), 7);
            let callers = callers.clone();
            let leaves = (1_u32..).take(usize::try_from(LEAVES).unwrap());
            let leaves = leaves.map(|line| frame("burn".to_owned(), line));
            leaves.map(move |leaf| {
                let entry = Arc::clone(&entry);
                std::iter::once(leaf)
                    .chain(callers.clone())
                    .chain([entry])
                    .collect()
            })
        });
        let stacks = stacks.collect();
        let names = (0..THREADS).map(|thread| format!("request {thread}").into());
        Self {
            service: Arc::new(Service {
                name: "busy".to_owned(),
                ..Service::default()
            }),
            container: "a".repeat(64).into(),
            names: names.collect(),
            child: "child".into(),
            stacks,
        }
    }

    /// The threads take turns.
    fn sample(&self, number: u64) -> NamedSample {
        let threads = u64::from(PROCESSES * THREADS);
        let thread = number % threads;
        let turn = number / threads;
        let request = (turn / OF_A_REQUEST) * threads + thread + 1;
        let leaf = (turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % LEAVES;
        let stack = usize::try_from(thread * LEAVES + leaf).unwrap();
        let name = usize::try_from(thread % u64::from(THREADS)).unwrap();
        let thread = u32::try_from(thread).unwrap();
        let root = NamedSpan {
            id: SpanId::new(request).unwrap(),
            name: self.names.get(name).cloned(),
        };
        NamedSample {
            time: BootNanos(number),
            measure: Measure::tick(4_999),
            service: Arc::clone(&self.service),
            container: Some(Arc::clone(&self.container)),
            pid: Pid(thread / THREADS),
            tid: Tid(thread),
            thread_name: ThreadName(*b"worker\0\0\0\0\0\0\0\0\0\0"),
            attribution: Attribution::Span(SpanContext {
                trace: TraceId::from_halves(1, request),
                local_root: Some(root),
                active: NamedSpan {
                    id: SpanId::new(request | 1 << 40).unwrap(),
                    name: Some(Arc::clone(&self.child)),
                },
            }),
            stack: Arc::clone(self.stacks.get(stack).unwrap()),
        }
    }
}

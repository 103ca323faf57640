//! Every map: its writers, its readers, its key, the reason for its size, and what happens when it is full.

use aya_ebpf::{
    bindings::BPF_F_NO_PREALLOC,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
};
use profiler_common::{
    code::{CodeKey, StateKey, StateUse},
    context::{ContextScratch, InterpreterKey, SpanRecipe},
    counter::Counter,
    limits::MAX_LAYOUTS,
    python::{Process, PythonLayout},
    span::{LiveSpan, LiveSpanKey, SpanStack},
};

use crate::scratch::{CodeScratch, KnownCodes, SampleScratch};

/// All records. Written by every program, read by the agent's drain. Default size: more than a
/// second of 999 Hz samples on 4 CPUs; the agent sets it at load. Full: the record is dropped and
/// its kind's counter bumped.
#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// Counts, by [`Counter`]. Written by every program, summed by the agent. Fixed size.
#[map]
pub(crate) static COUNTERS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(Counter::ALL.len() as u32, 0);

/// Layouts of interpreters, by index. Written by the agent, read by `sample`. One per distinct
/// build on a host; full: the agent refuses the process by name.
#[map]
pub(crate) static LAYOUTS: Array<PythonLayout> = Array::with_max_entries(MAX_LAYOUTS, 0);

/// Processes that are sampled, by thread group id. Written by the agent, copied at fork, stripped
/// at exec and deleted at exit by the process programs, read by `sample`. As many as the agent
/// profiles; full: counted, and the process is not sampled.
#[map]
pub(crate) static PROCESSES: HashMap<u32, Process> = HashMap::with_max_entries(10_240, 0);

/// How to read the current span, by thread group id. Written by the agent, copied at fork, deleted at
/// exec and exit by the process programs, read by `sample`. Full: the process has the spans of its
/// hook only.
#[map]
pub(crate) static SPAN_RECIPES: HashMap<u32, SpanRecipe> = HashMap::with_max_entries(10_240, 0);

/// The second half of a sample, [`crate::sample_span`], for kernels that cannot verify both in one
/// program. Written by the agent before sampling starts, called by `sample_unrolled`.
#[map]
pub(crate) static SPAN_PROGRAM: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// What reading a span needs. Written and read by `sample`.
#[map]
pub(crate) static CONTEXT_SCRATCH: PerCpuArray<ContextScratch> =
    PerCpuArray::with_max_entries(1, 0);

/// Spans whose names were shipped, with the addresses of these names: an application may rename a span. Written and read
/// by `sample`. The least recently used goes, and is shipped once more when seen again.
#[map]
pub(crate) static SEEN_SPANS: LruHashMap<LiveSpanKey, u64> =
    LruHashMap::with_max_entries(16_384, 0);

/// How to read the current span in an interpreter that is not its process's main one. Written by the agent, which also
/// removes entries of interpreters that are gone, read by `sample`. Full: samples in such an interpreter count as of an
/// unknown one.
#[map]
pub(crate) static INTERPRETER_RECIPES: HashMap<InterpreterKey, SpanRecipe> =
    HashMap::with_max_entries(8_192, BPF_F_NO_PREALLOC);

/// The thread that was last seen to have a thread state attached, in processes that hand them over. Written and read by
/// `sample`. The least recently used goes: then only the thread that made the state is taken to be in it.
#[map]
pub(crate) static STATE_USERS: LruHashMap<StateKey, StateUse> =
    LruHashMap::with_max_entries(8_192, 0);

/// Code objects already shipped. Written and read by `sample`. The least recently used goes, and
/// is shipped once more when seen again.
#[map]
pub(crate) static CODES: LruHashMap<CodeKey, u32> = LruHashMap::with_max_entries(32_768, 0);

/// Code objects this CPU has found in [`CODES`], and their process's count of code objects when they were read. For hot
/// stacks `sample` looks here first: it saves a helper call a frame, and does not read what cannot have changed, which
/// is most of what a walk costs. Written and read by `sample`. If another code object has taken the place, that costs
/// one reading and one look-up in [`CODES`].
#[map]
pub(crate) static KNOWN_CODES: PerCpuArray<KnownCodes> = PerCpuArray::with_max_entries(1, 0);

/// Spans started and not ended, by process and span id. Written by `span_start` and `span_end`,
/// read by `sample`. Full: the least recently used goes; its samples count as `span_ended`, and
/// its end in `span_ends_unmatched`.
#[map]
pub(crate) static LIVE_SPANS: LruHashMap<LiveSpanKey, LiveSpan> =
    LruHashMap::with_max_entries(16_384, 0);

/// Spans open in a thread, by thread id. Written by the thread itself in `span_start` and
/// `span_end`, read by `sample` on top of that very thread, deleted at thread exit and exec.
/// Full: the stack of the thread that has been without spans the longest goes.
#[map]
pub(crate) static SPAN_STACKS: LruHashMap<u32, SpanStack> = LruHashMap::with_max_entries(4_096, 0);

/// Processes whose hook has reported its resource, by thread group id. Written and read by `span_start`, deleted at
/// exit and exec. The least recently used goes; its hook reports again.
#[map]
pub(crate) static RESOURCES: LruHashMap<u32, u64> = LruHashMap::with_max_entries(10_240, 0);

/// A zeroed span stack, to insert from: too large for the program's stack. No program writes it.
#[map]
pub(crate) static EMPTY_STACK: Array<SpanStack> = Array::with_max_entries(1, 0);

/// Scratch of `sample` alone: it may interrupt a probe on the same CPU, so the probes have none.
#[map]
pub(crate) static SAMPLE_SCRATCH: PerCpuArray<SampleScratch> = PerCpuArray::with_max_entries(1, 0);

/// Scratch of `sample` for shipping code objects.
#[map]
pub(crate) static CODE_SCRATCH: PerCpuArray<CodeScratch> = PerCpuArray::with_max_entries(1, 0);

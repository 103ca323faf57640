//! The hook's probes: spans into bounded maps, and which span a thread is in.
//!
//! A thread's span stack is written by that thread alone, so it needs no lock. A span ended on another thread is
//! deleted from the map of live spans; its entry on the first thread's stack is then dead, and every reader of the
//! stack checks the map. This file is long because those who write a stack and who reads it are side by side: nothing
//! but their order of reads and writes keeps them apart.

use core::ptr;

use aya_ebpf::{EbpfContext as _, helpers::generated::bpf_probe_read_user, programs::ProbeContext};
use aya_log_ebpf::debug;
use profiler_common::{
    counter::Counter,
    event::{HookProcess, ResourceRecord, SpanEndRecord, SpanStartRecord, kind, start},
    limits::{MAX_SPAN_DEPTH, MAX_SPAN_NAME},
    span::{LiveSpan, LiveSpanKey, OpenSpan, SpanStack, source, state},
};

use crate::{
    arch::{Architecture as _, Machine},
    config,
    count::bump,
    emit,
    maps::{EMPTY_STACK, EVENTS, LIVE_SPANS, RESOURCES, SPAN_STACKS},
    verifier::masked,
};

/// The ABI version this agent speaks.
const ABI_VERSION: u32 = 1;

const _: () = assert!(MAX_SPAN_DEPTH.is_power_of_two());

/// The probe `span_start`.
#[inline(always)]
pub(crate) fn start(context: &ProbeContext) {
    bump(Counter::SpanStarted);
    let arguments = Machine::span_start(context);
    let header = emit::header(kind::SPAN_START, size_of::<SpanStartRecord>() as u32);
    let span = LiveSpan {
        tgid: header.tgid,
        tid: header.tid,
        span_id: arguments.span_id,
        trace_id_high: arguments.trace_id_high,
        trace_id_low: arguments.trace_id_low,
        parent_id: arguments.parent_id,
        local_root_id: arguments.local_root_id,
    };
    if arguments.process_block != 0 {
        tell_resource(header.tgid, arguments.process_block);
    }
    // The record goes first: a sample that names the span follows it on the ring.
    emit_start(
        &span,
        arguments.name,
        arguments.name_length,
        arguments.flags,
    );
    let key = LiveSpanKey {
        span_id: span.span_id,
        tgid: span.tgid,
        reserved: 0,
    };
    if LIVE_SPANS.insert(&key, &span, 0).is_err() {
        bump(Counter::SpanMapFull);
        return;
    }
    push(&span);
    if config::debug() != 0 {
        debug!(
            context,
            "span_start tgid {} span {:x}", span.tgid, span.span_id
        );
    }
}

/// The probe `span_end`.
#[inline(always)]
pub(crate) fn end(context: &ProbeContext) {
    bump(Counter::SpanEnded);
    let span_id = Machine::span_end(context);
    let (tgid, tid) = (context.tgid(), context.pid());
    let key = LiveSpanKey {
        span_id,
        tgid,
        reserved: 0,
    };
    match LIVE_SPANS.get_ptr(&key) {
        // SAFETY: map values stay readable while the program runs; only a count depends on it.
        Some(span) if unsafe { (*span).tid } != tid => bump(Counter::SpanEndedElsewhere),
        Some(_) => {}
        None => bump(Counter::SpanEndUnknown),
    }
    let _ = LIVE_SPANS.remove(&key);
    if let Some(stack) = SPAN_STACKS.get_ptr_mut(&tid) {
        // SAFETY: only the thread itself, which is stopped under this probe, writes its stack.
        let stack = unsafe { &mut *stack };
        if stack.tid == tid && stack.tgid == tgid {
            if stack.overflow > 0 && !is_on(stack, span_id) {
                stack.overflow -= 1;
            }
            pop_ended(stack);
        }
    }
    let Some(mut entry) = EVENTS.reserve::<SpanEndRecord>(0) else {
        bump(Counter::SpanRingFull);
        return;
    };
    let header = emit::header(kind::SPAN_END, size_of::<SpanEndRecord>() as u32);
    entry.write(SpanEndRecord { header, span_id });
    entry.submit(emit::QUIET);
}

/// The span a sample belongs to.
pub(crate) struct Current {
    /// One of [`source`].
    pub(crate) source: u16,
    /// The class of the current span, if that is not known.
    pub(crate) class: u64,
    /// One of [`state`].
    pub(crate) state: u32,
    /// The active span, 0 if none is known.
    pub(crate) span_id: u64,
    /// Its local root.
    pub(crate) local_root_id: u64,
    /// High half of its trace id.
    pub(crate) trace_id_high: u64,
    /// Low half.
    pub(crate) trace_id_low: u64,
}

impl Current {
    /// No span, and why: one of [`state`].
    #[inline(always)]
    pub(crate) fn none(state: u32) -> Self {
        Self {
            source: source::STACK,
            class: 0,
            state,
            span_id: 0,
            local_root_id: 0,
            trace_id_high: 0,
            trace_id_low: 0,
        }
    }
}

/// The span a thread is in, as its span stack says. It is long because all of the stack is read between two checks that
/// it still is this thread's.
#[inline(always)]
pub(crate) fn current(tgid: u32, tid: u32) -> Current {
    let none = Current::none;
    let Some(stack) = SPAN_STACKS.get_ptr(&tid) else {
        return none(state::NONE);
    };
    // SAFETY: map values stay readable while the program runs; that the stack is this thread's is checked below. The
    // sampler runs on top of the thread, so nothing writes the stack meanwhile.
    let stack = unsafe { &*stack };
    if !is_of(stack, tgid, tid) || stack.depth == 0 {
        return none(state::NONE);
    }
    if stack.overflow > 0 {
        return none(state::TOO_DEEP);
    }
    let mut top = None;
    let mut stale = 0;
    let mut is_nested = true;
    for index in 0..MAX_SPAN_DEPTH as u32 {
        if index >= stack.depth {
            break;
        }
        let open = entry(stack, index);
        if let Some(span) = live(tgid, open.span_id) {
            top = Some((open, span));
        } else {
            stale = open.span_id;
            is_nested = false;
        }
    }
    let Some((top, live)) = top else {
        // Which one: user space knows whether it has heard of its end.
        return Current {
            span_id: stale,
            ..none(state::ENDED)
        };
    };
    // Spans that do not nest, or that end in another order than the reverse of their starts, are not opened and closed
    // as blocks are: then it is not known which one runs.
    if !is_nested || top.chain_start > 0 {
        return none(state::NOT_NESTED);
    }
    // The stack's element, too, may have been recycled for another thread.
    if !is_of(stack, tgid, tid) {
        return none(state::NONE);
    }
    Current {
        source: source::STACK,
        class: 0,
        state: state::ACTIVE,
        span_id: live.span_id,
        local_root_id: live.local_root_id,
        trace_id_high: live.trace_id_high,
        trace_id_low: live.trace_id_low,
    }
}

/// Whether the stack is this thread's. Volatile: its element in the map may be recycled between two reads.
#[inline(always)]
fn is_of(stack: *const SpanStack, tgid: u32, tid: u32) -> bool {
    // SAFETY: map values stay readable while the program runs.
    unsafe {
        ptr::read_volatile(&raw const (*stack).tid) == tid
            && ptr::read_volatile(&raw const (*stack).tgid) == tgid
    }
}

/// The entry at an index below the stack's depth. The mask is what lets the verifier believe that.
#[inline(always)]
fn entry(stack: &SpanStack, index: u32) -> OpenSpan {
    // SAFETY: the masked index is below `MAX_SPAN_DEPTH`, a power of two.
    unsafe {
        *stack
            .open
            .as_ptr()
            .add(masked::<MAX_SPAN_DEPTH>(index as usize))
    }
}

/// The span, if it has started and not ended.
#[inline(always)]
fn live(tgid: u32, span_id: u64) -> Option<LiveSpan> {
    let key = LiveSpanKey {
        span_id,
        tgid,
        reserved: 0,
    };
    let element = LIVE_SPANS.get_ptr(&key)?;
    // SAFETY: map values stay readable while the program runs. The element may be recycled for another span meanwhile,
    // which writes the key first: so the key is read again after the copy, volatile so that the compiler does not use
    // the copy instead.
    let (span, span_id, owner) = unsafe {
        let span = *element;
        let span_id = ptr::read_volatile(&raw const (*element).span_id);
        (
            span,
            span_id,
            ptr::read_volatile(&raw const (*element).tgid),
        )
    };
    let is_whole = span.span_id == span_id && span.tgid == owner;
    (is_whole && span_id == key.span_id && owner == tgid).then_some(span)
}

/// Puts a span on its thread's stack.
#[inline(always)]
fn push(span: &LiveSpan) {
    let Some(stack) = stack_of(span.tgid, span.tid) else {
        bump(Counter::SpanMapFull);
        return;
    };
    pop_ended(stack);
    let depth = stack.depth;
    if depth as usize >= MAX_SPAN_DEPTH {
        stack.overflow += 1;
        bump(Counter::SpanTooDeep);
        return;
    }
    let mut chain_start = depth;
    if depth > 0 {
        let below = entry(stack, depth - 1);
        if below.span_id == span.parent_id {
            chain_start = below.chain_start;
        }
    }
    // SAFETY: the masked index is below `MAX_SPAN_DEPTH`, a power of two.
    let slot = unsafe {
        &mut *stack
            .open
            .as_mut_ptr()
            .add(masked::<MAX_SPAN_DEPTH>(depth as usize))
    };
    *slot = OpenSpan {
        span_id: span.span_id,
        chain_start,
        reserved: 0,
    };
    stack.depth = depth + 1;
}

/// The thread's stack, made if there is none; one that another thread left is emptied.
#[inline(always)]
fn stack_of(tgid: u32, tid: u32) -> Option<&'static mut SpanStack> {
    let stack = if let Some(stack) = SPAN_STACKS.get_ptr_mut(&tid) {
        stack
    } else {
        SPAN_STACKS.insert(&tid, EMPTY_STACK.get(0)?, 0).ok()?;
        SPAN_STACKS.get_ptr_mut(&tid)?
    };
    // SAFETY: map values stay valid while the program runs, and only the thread itself, which is
    // stopped under this probe, writes its stack.
    let stack = unsafe { &mut *stack };
    if stack.tid != tid || stack.tgid != tgid {
        stack.depth = 0;
        stack.overflow = 0;
        stack.tid = tid;
        stack.tgid = tgid;
    }
    Some(stack)
}

/// Takes spans that have ended off the top.
#[inline(always)]
fn pop_ended(stack: &mut SpanStack) {
    for _ in 0..MAX_SPAN_DEPTH {
        let depth = stack.depth;
        if depth == 0 || live(stack.tgid, entry(stack, depth - 1).span_id).is_some() {
            break;
        }
        stack.depth = depth - 1;
    }
}

/// Whether a span has an entry on the stack, live or not.
#[inline(always)]
fn is_on(stack: &SpanStack, span_id: u64) -> bool {
    for index in 0..MAX_SPAN_DEPTH {
        if index >= stack.depth as usize {
            break;
        }
        if stack
            .open
            .get(index)
            .is_some_and(|open| open.span_id == span_id)
        {
            return true;
        }
    }
    false
}

#[inline(always)]
fn emit_start(span: &LiveSpan, name: u64, name_length: u64, flags: u64) {
    let Some(mut entry) = EVENTS.reserve::<SpanStartRecord>(0) else {
        bump(Counter::SpanRingFull);
        return;
    };
    let record = entry.as_mut_ptr();
    let limit = MAX_SPAN_NAME as u64;
    let name_size = if name_length > limit {
        limit
    } else {
        name_length
    };
    if name_length > limit {
        bump(Counter::SpanNameCut);
    }
    if flags & start::NAME_NOT_TEXT != 0 {
        bump(Counter::SpanNameNotText);
    }
    // SAFETY: the reservation has room for the whole record. The name's size is at most that of
    // its field, and the helper checks the source.
    unsafe {
        let failed = bpf_probe_read_user(
            (&raw mut (*record).name).cast(),
            (name_size as u32) & (2 * MAX_SPAN_NAME as u32 - 1),
            name as *const _,
        ) != 0;
        if failed {
            bump(Counter::SpanNameUnreadable);
        }
        (*record).header = emit::header(kind::SPAN_START, size_of::<SpanStartRecord>() as u32);
        (*record).trace_id_high = span.trace_id_high;
        (*record).trace_id_low = span.trace_id_low;
        (*record).span_id = span.span_id;
        (*record).parent_id = span.parent_id;
        (*record).local_root_id = span.local_root_id;
        (*record).flags = flags;
        (*record).name_length = name_length as u32;
        (*record).name_size = if failed { 0 } else { name_size as u32 };
    }
    entry.submit(emit::QUIET);
}

/// Ships the hook's process block, once per process.
#[inline(always)]
fn tell_resource(tgid: u32, block: u64) {
    if let Some(told) = RESOURCES.get_ptr(&tgid) {
        // SAFETY: map values stay readable while the program runs.
        if unsafe { *told } == block {
            return;
        }
    }
    let Some(mut entry) = EVENTS.reserve::<ResourceRecord>(0) else {
        bump(Counter::SpanRingFull);
        return;
    };
    let record = entry.as_mut_ptr();
    // SAFETY: the reservation has room for the whole record, and the helper checks the source.
    let refused = unsafe {
        (*record).header = emit::header(kind::RESOURCE, size_of::<ResourceRecord>() as u32);
        let failed = bpf_probe_read_user(
            (&raw mut (*record).block).cast(),
            size_of::<HookProcess>() as u32,
            block as *const _,
        ) != 0;
        failed || (*record).block.abi_version != ABI_VERSION
    };
    if refused {
        bump(Counter::HookVersion);
        entry.discard(emit::QUIET);
    } else {
        entry.submit(emit::QUIET);
    }
    // If the kernel refuses the update, the next span reports it again.
    let _ = RESOURCES.insert(&tgid, &block, 0);
}

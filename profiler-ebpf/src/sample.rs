//! One hit of the sampling clock: if it is in a process we profile, takes its stacks and its span.

use core::ptr;

use aya_ebpf::programs::PerfEventContext;
use aya_log_ebpf::debug;
use profiler_common::{
    counter::Counter,
    event::{Header, PythonFrame, SampleRecord, kind, measure},
    limits::{MAX_KERNEL_FRAMES, MAX_NATIVE_FRAMES, MAX_PYTHON_FRAMES},
    outcome::Outcome,
    python::Process,
    span::state,
};

use crate::{
    code, config,
    context::{self, Interpreter},
    count::bump,
    emit,
    kernel::Kernel,
    maps::{
        INTERPRETER_RECIPES, KNOWN_CODES, LAYOUTS, PROCESSES, SAMPLE_SCRATCH, SPAN_PROGRAM,
        SPAN_RECIPES,
    },
    native, python,
    scratch::{Before, SampleScratch},
    span, stage,
    task::Thread,
};

/// Takes the sample. It is long because all stages of a sample are in one place, in their order.
#[inline(always)]
pub(crate) fn take<K: Kernel>(context: &PerfEventContext) {
    // Most hits are in no profiled process: for those the program does not even read the time.
    let thread = Thread::<K>::current();
    let tgid = thread.tgid();
    if tgid == 0 {
        bump(Counter::SampleIdle);
        return;
    }
    let Some(process) = PROCESSES.get_ptr(&tgid) else {
        bump(Counter::SampleElsewhere);
        return;
    };
    let Some(scratch) = SAMPLE_SCRATCH.get_ptr_mut(0) else {
        // It always exists; only the verifier does not know.
        return;
    };
    // SAFETY: map values stay readable while the program runs, and the entry is this process's
    // own, deleted only when its last thread exits. The scratch is this CPU's, which no other
    // program uses; the sampling interrupt does not nest.
    let (process, scratch) = unsafe { (&*process, &mut *scratch) };
    stage::start(scratch);
    bump(Counter::SampleTaken);
    let header = emit::header_of(tgid, thread.tid(), kind::SAMPLE, 0);
    scratch.record.header = header;
    let (in_user_mode, registers) = native::registers(context);
    scratch.in_user_mode = u64::from(in_user_mode);
    scratch.registers = registers;
    stage::end(scratch, Counter::StageStart);
    python::<K>(process, scratch);
    native::<K>(context, scratch);
    stage::end(scratch, Counter::StageNative);
    if K::IS_SPLIT {
        // SAFETY: both are valid, and apart. The map holds only programs of this kind.
        unsafe {
            // Copied in place: the stack has no room for a copy.
            ptr::copy_nonoverlapping(process, &raw mut scratch.process, 1);
            SPAN_PROGRAM.tail_call(context, 0);
        }
        // The call has returned: the other half is not loaded.
        let span = span::Current::none(state::CONTEXT_UNREADABLE);
        return finish::<K>(process.start_time, scratch, &span);
    }
    let span = current_span(process, scratch);
    finish::<K>(process.start_time, scratch, &span);
    if config::debug() != 0 {
        debug!(
            context,
            "sample tgid {} tid {} python {} native {} span {:x}",
            header.tgid,
            header.tid,
            scratch.walk.count,
            scratch.native.count,
            scratch.record.span_id
        );
    }
}

/// The kernel's and the native stack.
#[inline(always)]
fn native<K: Kernel>(context: &PerfEventContext, scratch: &mut SampleScratch) {
    let registers = scratch.registers;
    scratch.kernel_frames = if scratch.in_user_mode != 0 {
        0
    } else {
        // SAFETY: the room is in the scratch.
        let slots = unsafe { &mut *scratch.kernel_addresses() };
        native::kernel_stack(context, slots) as u32
    };
    scratch.native.count = 0;
    scratch.native.outcome = Outcome::Complete as u32;
    // A kernel thread has no user stack.
    if registers.instruction != 0 {
        native::native_stack::<K>(registers, scratch);
    }
}

/// The Python stack. Code objects not yet shipped go first: the sample that names them follows.
#[inline(always)]
fn python<K: Kernel>(process: &Process, scratch: &mut SampleScratch) {
    // From here on the scratch of the sample before is overwritten.
    scratch.shipped = scratch.before.count;
    scratch.before.count = 0;
    scratch.walk.count = 0;
    scratch.python_frames_omitted = 0;
    scratch.thread_state = 0;
    scratch.maker = 0;
    scratch.interpreter = 0;
    scratch.python_outcome = Outcome::NotPython as u32;
    if process.runtime == 0 {
        return;
    }
    let Some(layout) = LAYOUTS.get(process.layout) else {
        return;
    };
    let Some(known) = KNOWN_CODES.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: the slots are this CPU's, as the scratch is.
    let known = unsafe { &mut *known };
    let outcome = python::stack::<K>(layout, process, scratch, known);
    // Here the verifier forgets which outcome it was: it follows the rest once, instead of once for each.
    scratch.python_outcome = outcome as u32;
    stage::end(scratch, Counter::StageFrames);
    code::ship_new::<K>(layout, process, scratch, known);
    stage::end(scratch, Counter::StageCodes);
    leave(process, scratch);
}

/// Leaves to the next sample on this CPU what this one has found.
#[inline(always)]
fn leave(process: &Process, scratch: &mut SampleScratch) {
    scratch.before = Before {
        process_start: process.start_time,
        tgid: scratch.record.header.tgid,
        generation: process.generation,
        tid: scratch.record.header.tid,
        code_version: scratch.walk.code_version,
        count: if scratch.unknown_codes == 0 {
            u64::from(scratch.walk.count)
        } else {
            0
        },
        thread_state: scratch.thread_state,
        attached_place: scratch.attached_place,
        thread_pointer: scratch.thread_pointer,
        maker: scratch.maker,
    };
}

/// The span the sample belongs to: read from the interpreter if that is possible, else from what the hook's probes have
/// seen.
#[inline(always)]
fn current_span(process: &Process, scratch: &SampleScratch) -> span::Current {
    if process.runtime != 0
        && let Some(layout) = LAYOUTS.get(process.layout)
    {
        if scratch.python_outcome == Outcome::StateUnknown as u32 {
            // If the thread's state is not known, neither is whose spans the thread has open.
            return context::failed(state::THREAD_STATE_UNKNOWN);
        }
        let recipe = match context::interpreter(process, layout, scratch) {
            Interpreter::Main => SPAN_RECIPES.get_ptr(&scratch.record.header.tgid),
            Interpreter::Other(key) => match INTERPRETER_RECIPES.get_ptr(&key) {
                None => return context::failed(state::INTERPRETER_UNKNOWN),
                recipe => recipe,
            },
            Interpreter::Unreadable => return context::failed(state::CONTEXT_UNREADABLE),
        };
        if let Some(recipe) = recipe {
            // SAFETY: map values stay readable while the program runs. The agent may write the entry
            // meanwhile: then some check on the way fails, or both recipes say the same.
            let recipe = unsafe { &*recipe };
            return context::current(recipe, layout, scratch);
        }
    }
    let header = &scratch.record.header;
    span::current(header.tgid, header.tid)
}

/// The second half of a sample that [`take`] has begun: its span. It does not look the process up in a map, whose entry
/// may be gone by now: each sample that is counted as taken goes on.
#[inline(always)]
pub(crate) fn find_span<K: Kernel>() {
    let Some(scratch) = SAMPLE_SCRATCH.get_ptr_mut(0) else {
        // It always exists; only the verifier does not know.
        return;
    };
    // SAFETY: as in `take`, which calls this program as its second half.
    let scratch = unsafe { &mut *scratch };
    let span = current_span(&scratch.process, scratch);
    finish::<K>(scratch.process.start_time, scratch, &span);
}

/// Fills in the record and ships it. It is long because the record has a line for each field.
#[inline(always)]
fn finish<K: Kernel>(process_start: u64, scratch: &mut SampleScratch, span: &span::Current) {
    stage::end(scratch, Counter::StageSpan);
    let header = scratch.record.header;
    let python_frames = scratch.python_frames();
    let size = size_of::<SampleRecord>()
        + scratch.addresses() * 8
        + python_frames * size_of::<PythonFrame>();
    scratch.record = SampleRecord {
        header: Header {
            size: size as u32,
            ..header
        },
        process_start,
        thread_name: Thread::<K>::current().name(),
        trace_id_high: span.trace_id_high,
        trace_id_low: span.trace_id_low,
        span_id: span.span_id,
        local_root_id: span.local_root_id,
        span_class: span.class,
        nanos: u64::from(config::tick()),
        span_state: span.state,
        python_outcome: scratch.python_outcome,
        native_outcome: scratch.native.outcome,
        kernel_frames: scratch.kernel_frames as u16,
        native_frames: scratch.native.count as u16,
        python_frames: python_frames as u16,
        measure: measure::CPU,
        span_source: span.source,
        python_frames_omitted: scratch.python_frames_omitted as u16,
    };
    // From these frames the agent learns how to read the next one.
    let wake = match span.state {
        state::CONTEXT_UNEXPECTED | state::SPAN_CLASS_UNKNOWN | state::INTERPRETER_UNKNOWN => {
            emit::WAKE
        }
        _ => emit::wake_if_filling(),
    };
    stage::end(scratch, Counter::StageRecord);
    // SAFETY: the record and the frames are adjacent in the scratch, and hold at least `size` bytes.
    unsafe {
        emit::copy(
            (&raw const *scratch).cast(),
            size as u32,
            wake,
            Counter::SampleRingFull,
        );
    }
    stage::end(scratch, Counter::StageRing);
}

const _: () = assert!(
    2 * (MAX_KERNEL_FRAMES + MAX_NATIVE_FRAMES) * 8
        + 2 * MAX_PYTHON_FRAMES * size_of::<PythonFrame>()
        <= crate::scratch::FRAMES_SIZE
);

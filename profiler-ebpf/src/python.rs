//! The Python stack of the current thread.

use core::{cell::Cell, ffi::c_void};

use profiler_common::{
    code::ThreadState,
    counter::Counter,
    outcome::Outcome,
    python::{Process, PythonLayout},
    walk::{
        MAX_SEARCH_STEPS, MAX_STEPS, Remembered, code_version, current_frame, remembered, step,
    },
};

use crate::{
    codes::Codes,
    count::bump,
    maps::THREAD_STATES,
    scratch::{KnownCodes, SampleScratch},
    stage,
    task::Thread,
    user::CurrentProcess,
    verifier::{Repeat, repeat},
};

/// What the steps of one walk share: pointers only, so that every step looks the same to the
/// verifier.
struct Steps {
    layout: *const PythonLayout,
    process: *const Process,
    scratch: *mut SampleScratch,
    known: *mut KnownCodes,
}

/// Fills in the Python frames of the current thread, leaf first; `scratch.walk.count` says how
/// many.
#[inline(always)]
pub(crate) fn stack<R: Repeat>(
    layout: &PythonLayout,
    process: &Process,
    scratch: &mut SampleScratch,
    known: &mut KnownCodes,
) -> Outcome {
    scratch.walk.restart(0);
    scratch.walk.code_version = 0;
    scratch.unknown_codes = 0;
    let before = &mut scratch.before;
    let header = &scratch.record.header;
    if before.tgid != header.tgid
        || before.generation != process.generation
        || before.process_start != process.start_time
    {
        scratch.shipped = 0;
        before.thread_state = 0;
    }
    let likely = if R::BY_HELPER && before.tid == header.tid {
        before.thread_state
    } else {
        0
    };
    let outcome = match thread_state::<R>(layout, process, likely, scratch, known) {
        Ok((state, frame)) => {
            scratch.thread_state = state;
            stage::end(scratch, Counter::StageThread);
            if frame == 0 {
                Outcome::NoFrame
            } else {
                walk::<R>(layout, process, frame, scratch, known)
            }
        }
        Err(outcome) => outcome,
    };
    match outcome {
        Outcome::NoThreadState => bump(Counter::WalkNoThreadState),
        Outcome::Unreadable => bump(Counter::WalkUnreadable),
        Outcome::NotCode => bump(Counter::WalkNotCode),
        Outcome::Truncated => bump(Counter::WalkTruncated),
        Outcome::TooManyThreads => bump(Counter::WalkTooManyThreads),
        _ => {}
    }
    outcome
}

#[inline(always)]
fn walk<R: Repeat>(
    layout: &PythonLayout,
    process: &Process,
    frame: u64,
    scratch: &mut SampleScratch,
    known: &mut KnownCodes,
) -> Outcome {
    scratch.walk.restart(frame);
    if R::BY_HELPER {
        let version = code_version(&CurrentProcess, layout, process);
        scratch.walk.code_version = version;
        scratch.unchanged = if version != 0 && version == scratch.before.code_version {
            scratch.shipped
        } else {
            0
        };
    }
    stage::end(scratch, Counter::StageVersion);
    let mut steps = Steps {
        layout,
        process,
        scratch,
        known,
    };
    // SAFETY: the body gets the `Steps` it expects, and they hold the scratch that came in.
    let outcome = unsafe {
        repeat::<R, { MAX_STEPS / STEPS_AT_ONCE }, { STEPS_AT_ONCE / 2 }>(
            MAX_STEPS / STEPS_AT_ONCE,
            take_steps::<R>,
            (&raw mut steps).cast(),
        );
        (*steps.scratch).walk.outcome
    };
    Outcome::from_number(outcome).unwrap_or(Outcome::Truncated)
}

/// Steps that one call of [`take_steps`] takes: the call goes through a retpoline on many machines.
const STEPS_AT_ONCE: u32 = 4;

/// A few steps of the walk: 0 to go on, 1 to stop.
extern "C" fn take_steps<R: Repeat>(_index: u64, steps: *mut c_void) -> i64 {
    // SAFETY: the caller passes its `Steps`, whose pointers are valid for the program's run, and
    // nobody else holds the scratch meanwhile.
    let (layout, process, scratch, known) = unsafe {
        let steps = &*steps.cast::<Steps>();
        (
            &*steps.layout,
            &*steps.process,
            &mut *steps.scratch,
            &mut *steps.known,
        )
    };
    let codes = Codes {
        process,
        tgid: scratch.record.header.tgid,
        version: scratch.walk.code_version,
        shipped: scratch.shipped,
        unchanged: scratch.unchanged,
        frames: scratch,
        known,
    };
    for _ in 0..STEPS_AT_ONCE {
        let is_known = Cell::new(false);
        let goes_on = step(
            &CurrentProcess,
            layout,
            process.code_type,
            &mut scratch.walk,
            |index, code| {
                // Each step of an unrolled walk is verified by itself: it takes no short cuts.
                if !R::BY_HELPER {
                    return None;
                }
                // SAFETY: what `codes` points to is apart from the walk, and nobody else holds it.
                let (checksum, known) = unsafe { codes.verified(index, code) }?;
                is_known.set(known);
                Some(checksum)
            },
            |index, frame| {
                // SAFETY: as above.
                unsafe {
                    if R::BY_HELPER {
                        codes.put(index, frame, is_known.get())
                    } else {
                        codes.put_unrolled(index, frame);
                        false
                    }
                }
            },
        );
        if !goes_on {
            return 1;
        }
    }
    0
}

/// The state of the current thread, remembered or found anew, and its innermost frame. `likely` is where the
/// sample before has found it, 0 where that was of another thread.
#[inline(always)]
fn thread_state<R: Repeat>(
    layout: &PythonLayout,
    process: &Process,
    likely: u64,
    scratch: &mut SampleScratch,
    known: &mut KnownCodes,
) -> Result<(u64, u64), Outcome> {
    let tid = scratch.record.header.tid;
    let pointer = Thread::<R>::current().pointer();
    let mut state = likely;
    if state == 0
        && let Some(known) = THREAD_STATES.get_ptr(&tid)
    {
        // SAFETY: map values stay readable while the program runs. The element may be recycled for
        // another thread meanwhile: the state itself is asked whose it is.
        let known = unsafe { *known };
        if known.runtime == process.runtime {
            state = known.address;
        }
    }
    if state != 0 {
        let block = &mut scratch.walk.code;
        match remembered(&CurrentProcess, layout, state, pointer, block) {
            // Perhaps it runs in another interpreter now.
            Remembered::Gone | Remembered::Frame(0) => {}
            Remembered::Frame(frame) => return Ok((state, frame)),
            Remembered::Unreadable => return Err(Outcome::Unreadable),
        }
    }
    if scratch
        .search
        .start(&CurrentProcess, layout, process, pointer)
    {
        let mut steps = Steps {
            layout,
            process,
            scratch,
            known,
        };
        // SAFETY: the body gets the `Steps` it expects.
        unsafe {
            repeat::<R, MAX_SEARCH_STEPS, 1>(
                MAX_SEARCH_STEPS,
                search_step,
                (&raw mut steps).cast(),
            );
        }
    }
    match Outcome::from_number(scratch.search.outcome) {
        Some(Outcome::Complete) => {}
        Some(outcome) => return Err(outcome),
        None => return Err(Outcome::NoThreadState),
    }
    let state = ThreadState {
        address: scratch.search.thread,
        runtime: process.runtime,
    };
    // A cache: where the kernel refuses the update, the next sample searches again.
    let _ = THREAD_STATES.insert(&tid, &state, 0);
    match current_frame(&CurrentProcess, layout, state.address) {
        Some(frame) => Ok((state.address, frame)),
        None => Err(Outcome::Unreadable),
    }
}

/// One step of the search: 0 to go on, 1 to stop.
extern "C" fn search_step(_index: u64, steps: *mut c_void) -> i64 {
    // SAFETY: as in `take_step`.
    let (layout, scratch) = unsafe {
        let steps = &*steps.cast::<Steps>();
        (&*steps.layout, &mut *steps.scratch)
    };
    i64::from(!scratch.search.step(&CurrentProcess, layout))
}

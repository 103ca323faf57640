//! The Python stack of the current thread.

mod stack;
mod state;
mod users;

use core::ffi::c_void;

use profiler_common::{
    counter::Counter,
    limits::{MAX_PYTHON_DEPTH, MAX_PYTHON_FRAMES},
    outcome::Outcome,
    python::{Process, PythonLayout},
    walk::{code_version, step, steps_for},
};

use self::state::thread_state;
use crate::{
    codes::StackCodes,
    config,
    count::bump,
    kernel::Kernel,
    scratch::{KnownCodes, SampleScratch},
    stage,
    user::CurrentProcess,
    verifier::repeat,
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
pub(crate) fn stack<K: Kernel>(
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
    let outcome = match thread_state::<K>(layout, process, scratch, known) {
        Ok((state, frame)) => {
            scratch.thread_state = state;
            stage::end(scratch, Counter::StageThread);
            if frame == 0 {
                Outcome::NoFrame
            } else {
                walk::<K>(layout, process, frame, scratch, known)
            }
        }
        Err(outcome) => outcome,
    };
    count(outcome);
    outcome
}

#[inline(always)]
fn count(outcome: Outcome) {
    match outcome {
        Outcome::NoThreadState => bump(Counter::WalkNoThreadState),
        Outcome::StateUnknown => bump(Counter::WalkStateUnknown),
        Outcome::Unreadable => bump(Counter::WalkUnreadable),
        Outcome::NotCode => bump(Counter::WalkNotCode),
        Outcome::Truncated => bump(Counter::WalkTruncated),
        Outcome::TooManyThreads => bump(Counter::WalkTooManyThreads),
        _ => {}
    }
}

#[inline(always)]
fn walk<K: Kernel>(
    layout: &PythonLayout,
    process: &Process,
    frame: u64,
    scratch: &mut SampleScratch,
    known: &mut KnownCodes,
) -> Outcome {
    scratch.walk.restart(frame);
    scratch.walk.most = if K::HAS_LOOP {
        config::python_depth()
    } else {
        MAX_PYTHON_FRAMES as u32
    };
    if K::HAS_SHORTCUTS {
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
        let most = steps_for(scratch.walk.most as usize) / STEPS_AT_ONCE;
        repeat::<K, { steps_for(MAX_PYTHON_DEPTH) / STEPS_AT_ONCE }, { STEPS_AT_ONCE / 2 }>(
            most,
            take_steps::<K>,
            (&raw mut steps).cast(),
        );
        let scratch = &mut *steps.scratch;
        leave_out(scratch);
        scratch.walk.outcome
    };
    Outcome::from_number(outcome).unwrap_or(Outcome::Truncated)
}

/// Counts the frames of a stack that is too deep for a sample: from here on there are only those that the sample has.
#[inline(always)]
fn leave_out(scratch: &mut SampleScratch) {
    const MOST: u32 = MAX_PYTHON_FRAMES as u32;
    if scratch.walk.count > MOST {
        scratch.python_frames_omitted = scratch.walk.count - MOST;
        scratch.walk.count = MOST;
    }
}

/// Steps that one call of [`take_steps`] takes: the call goes through a retpoline on many machines.
const STEPS_AT_ONCE: u32 = 4;

/// A few steps of the walk: 0 to go on, 1 to stop.
extern "C" fn take_steps<K: Kernel>(_index: u64, steps: *mut c_void) -> i64 {
    // SAFETY: the caller passes its `Steps`, whose pointers are valid for the program's run, and there is no other
    // reference to the scratch meanwhile.
    let (layout, process, scratch, known) = unsafe {
        let steps = &*steps.cast::<Steps>();
        (
            &*steps.layout,
            &*steps.process,
            &mut *steps.scratch,
            &mut *steps.known,
        )
    };
    // SAFETY: there is no other reference to the scratch and the known codes meanwhile.
    let mut codes = unsafe { StackCodes::<K>::new(process, scratch, known) };
    for _ in 0..STEPS_AT_ONCE {
        let walk = &mut scratch.walk;
        if !step(&CurrentProcess, layout, process.code_type, walk, &mut codes) {
            return 1;
        }
    }
    0
}

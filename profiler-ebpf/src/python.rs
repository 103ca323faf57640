//! The Python stack of the current thread.

use core::{ffi::c_void, ptr};

use profiler_common::{
    code::{ThreadState, VerifiedCode},
    counter::Counter,
    outcome::Outcome,
    python::{Process, PythonLayout},
    walk::{MAX_SEARCH_STEPS, MAX_STEPS, code_version, current_frame, owns, step},
};

use crate::{
    code,
    count::bump,
    maps::{THREAD_STATES, VERIFIED_CODES},
    scratch::{Before, KnownCodes, SampleScratch, VerifiedCodes},
    stage, task,
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
    verified: *mut VerifiedCodes,
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
    scratch.unknown_codes = 0;
    let tgid = scratch.record.header.tgid;
    if R::BY_HELPER {
        let before = &mut scratch.before;
        if before.tgid != tgid
            || before.generation != process.generation
            || before.process_start != process.start_time
        {
            before.count = 0;
        }
    }
    let outcome = match thread_state::<R>(layout, process, scratch, known) {
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
    if R::BY_HELPER {
        // What is shipped only now may fail to be: known are those that were known before.
        let is_known = scratch.unknown_codes == 0;
        scratch.before = Before {
            process_start: process.start_time,
            tgid,
            generation: process.generation,
            count: if is_known {
                u64::from(scratch.walk.count)
            } else {
                0
            },
        };
    }
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
    let Some(verified) = VERIFIED_CODES.get_ptr_mut(0) else {
        return Outcome::Unreadable;
    };
    if R::BY_HELPER {
        scratch.walk.code_version = match code_version(&CurrentProcess, layout, process) {
            // What this very sample has read stays as it is: the frame keeps its code object alive.
            0 => THIS_SAMPLE | scratch.record.header.time,
            version => version,
        };
    }
    stage::end(scratch, Counter::StageVersion);
    let mut steps = Steps {
        layout,
        process,
        scratch,
        known,
        verified,
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

/// In a version of code objects: it is the time of a sample, and not a count of the interpreter's, which has
/// 32 bits.
const THIS_SAMPLE: u64 = 1 << 63;

/// Steps that one call of [`take_steps`] takes: the call goes through a retpoline on many machines.
const STEPS_AT_ONCE: u32 = 4;

/// A few steps of the walk: 0 to go on, 1 to stop.
extern "C" fn take_steps<R: Repeat>(_index: u64, steps: *mut c_void) -> i64 {
    // SAFETY: the caller passes its `Steps`, whose pointers are valid for the program's run, and
    // nobody else holds the scratch meanwhile.
    let (layout, process, scratch, known, verified) = unsafe {
        let steps = &*steps.cast::<Steps>();
        (
            &*steps.layout,
            &*steps.process,
            &mut *steps.scratch,
            &mut *steps.known,
            &mut *steps.verified,
        )
    };
    let version = scratch.walk.code_version;
    let frames: *mut SampleScratch = scratch;
    for _ in 0..STEPS_AT_ONCE {
        // Not 0 where the code object of the frame was read.
        let mut read = 0;
        let goes_on = step(
            &CurrentProcess,
            layout,
            process.code_type,
            &mut scratch.walk,
            |code| {
                // Each step of an unrolled walk is verified by itself: it takes no short cuts.
                if !R::BY_HELPER {
                    return None;
                }
                let slot = verified.slot(code);
                // SAFETY: the header is in the scratch, apart from the walk.
                let tgid = unsafe { (*frames).record.header.tgid };
                let difference = (slot.code ^ code)
                    | (slot.process_start ^ process.start_time)
                    | (slot.version ^ version)
                    | u64::from(slot.tgid ^ tgid)
                    | u64::from(slot.generation ^ process.generation);
                if difference == 0 {
                    return Some(slot.checksum);
                }
                read = code;
                None
            },
            |index, frame| {
                // SAFETY: the slots, the header and the marks are in the scratch, apart from the walk.
                unsafe {
                    let slot = (*frames).python_frame(index);
                    let before = *slot;
                    *slot = frame;
                    // Mostly the stack is as it was, but for its leaf: then this is all.
                    if R::BY_HELPER
                        && before.code == frame.code
                        && before.checksum == frame.checksum
                        && u64::from(index) < (*frames).before.count
                    {
                        return true;
                    }
                    let key = code::key(process, (*frames).record.header.tgid, &frame);
                    let difference = known.slot(frame.checksum).difference(&key);
                    (*frames).unknown_codes |= difference;
                    // Each step of an unrolled walk is verified by itself: it takes no short cuts.
                    R::BY_HELPER && difference == 0
                }
            },
        );
        if !goes_on {
            return 1;
        }
        if R::BY_HELPER && read != 0 {
            // SAFETY: the slot and the header are in the scratch, apart from the walk.
            let (checksum, tgid) = unsafe {
                let frame = *(*frames).python_frame(scratch.walk.count.wrapping_sub(1));
                (frame.checksum, (*frames).record.header.tgid)
            };
            *verified.slot(read) = VerifiedCode {
                code: read,
                process_start: process.start_time,
                version,
                tgid,
                generation: process.generation,
                checksum,
                reserved: 0,
            };
        }
    }
    0
}

/// The state of the current thread, remembered or found anew, and its innermost frame.
#[inline(always)]
fn thread_state<R: Repeat>(
    layout: &PythonLayout,
    process: &Process,
    scratch: &mut SampleScratch,
    known: &mut KnownCodes,
) -> Result<(u64, u64), Outcome> {
    let tid = scratch.record.header.tid;
    let pointer = task::thread_pointer();
    if let Some(known) = THREAD_STATES.get_ptr(&tid) {
        // SAFETY: map values stay readable while the program runs. The element may be recycled for
        // another thread meanwhile: `owns` asks the state itself whose it is.
        let known = unsafe { *known };
        if known.runtime == process.runtime && owns(&CurrentProcess, layout, known.address, pointer)
        {
            match current_frame(&CurrentProcess, layout, known.address) {
                // Perhaps it runs in another interpreter now.
                Some(0) => {}
                Some(frame) => return Ok((known.address, frame)),
                None => return Err(Outcome::Unreadable),
            }
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
            verified: ptr::null_mut(),
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

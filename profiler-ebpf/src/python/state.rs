//! The thread state that the current thread runs in.

use core::ffi::c_void;

use profiler_common::{
    outcome::Outcome,
    python::{Process, PythonLayout},
    walk::{
        FRAMES_AT_ONCE, MAX_SEARCH_STEPS, Position, ReadUser as _, Seen, attached_place,
        has_c_frames, holder, maker, see, seen_in,
    },
};

use super::{
    Steps,
    stack::{is_on_one_stack, is_on_stack},
    users::{may_be_its, may_hold, note_user},
};
use crate::{
    kernel::Kernel,
    scratch::{KnownCodes, SampleScratch},
    task::Thread,
    user::CurrentProcess,
    verifier::repeat,
};

/// The state that the current thread runs in, as far as something proves it, and its innermost frame.
#[inline(always)]
pub(super) fn thread_state<K: Kernel>(
    layout: &PythonLayout,
    process: &Process,
    scratch: &mut SampleScratch,
    known: &mut KnownCodes,
) -> Result<(u64, u64), Outcome> {
    let thread = Thread::<K>::current();
    let pointer = thread.pointer();
    let registers = scratch.registers;
    if layout.runtime_current == 0 {
        let state = attached(process, pointer, scratch)?;
        if state != 0 {
            let seen = look_into(layout, state, scratch)?;
            note_user(process, state, seen.maker, pointer, 0, scratch);
            return innermost(state, seen);
        }
    }
    let mut position = Position::new(pointer, registers.instruction, registers.stack);
    let mut steps = Steps {
        layout,
        process,
        scratch,
        known,
    };
    if layout.runtime_current != 0
        && let Some((state, seen)) = held::<K>(layout, process, &thread, &mut position, &mut steps)?
    {
        return innermost(state, seen);
    }
    // Most samples do not get here, and cost no read of the end of the stack.
    position.find_end(|| thread.first_stack());
    detached::<K>(layout, process, &position, &mut steps)
}

/// The state that the interpreter's thread-local says is attached to the thread, 0 if none is.
#[inline(always)]
fn attached(
    process: &Process,
    thread_pointer: u64,
    scratch: &mut SampleScratch,
) -> Result<u64, Outcome> {
    let before = &scratch.before;
    // `stack` has checked that the sample before was of this process, or has forgotten what it left.
    let is_as_before = before.tid == scratch.record.header.tid
        && before.thread_pointer == thread_pointer
        && before.thread_state != 0;
    let place = if is_as_before {
        before.attached_place
    } else {
        attached_place(&CurrentProcess, process, thread_pointer).ok_or(Outcome::StateUnknown)?
    };
    scratch.attached_place = place;
    scratch.thread_pointer = thread_pointer;
    if place == 0 {
        return Ok(0);
    }
    CurrentProcess.read_u64(place).ok_or(Outcome::Unreadable)
}

/// The state that has the GIL (before 3.12), if that is this thread's.
#[inline(always)]
fn held<K: Kernel>(
    layout: &PythonLayout,
    process: &Process,
    thread: &Thread<K>,
    position: &mut Position,
    steps: &mut Steps,
) -> Result<Option<(u64, Seen)>, Outcome> {
    // SAFETY: there is no other reference to the scratch of the steps.
    let scratch = unsafe { &mut *steps.scratch };
    let block = &mut scratch.walk.code;
    let first_stack = || thread.first_stack();
    let read = &CurrentProcess;
    let state = holder(read, layout, process, position, first_stack, block);
    if state == 0 {
        return Ok(None);
    }
    if !has_c_frames(layout) {
        // The scan of the stack ends there.
        position.find_end(first_stack);
    }
    // SAFETY: as above.
    let Some(seen) = (unsafe { seen_on_stack::<K>(layout, process, state, position, steps)? })
    else {
        return Ok(None);
    };
    // SAFETY: as above.
    let scratch = unsafe { &mut *steps.scratch };
    if !may_hold(layout, process, state, &seen, position, scratch) {
        return Err(Outcome::StateUnknown);
    }
    scratch.interpreter = seen.interpreter;
    let pointer = position.thread_pointer;
    note_user(process, state, seen.maker, pointer, 0, scratch);
    Ok(Some((state, seen)))
}

/// What the state of the GIL's holder records, if a part of the state lies on the thread's stack. From 3.10 on `holder`
/// has read the state.
///
/// # Safety
/// There is no other reference to the scratch of the steps.
#[inline(always)]
unsafe fn seen_on_stack<K: Kernel>(
    layout: &PythonLayout,
    process: &Process,
    state: u64,
    position: &Position,
    steps: &mut Steps,
) -> Result<Option<Seen>, Outcome> {
    // SAFETY: the caller vouches for the scratch.
    let scratch = unsafe { &mut *steps.scratch };
    if has_c_frames(layout) {
        let maker = maker_of(layout, process, state, position.thread_pointer, scratch)
            .ok_or(Outcome::Unreadable)?;
        let seen = seen_in(&CurrentProcess, layout, &scratch.walk.code, maker);
        scratch.maker = maker;
        let frame = scratch.walk.code.u64_at(layout.thread_cframe);
        // SAFETY: as above.
        let is_its =
            position.is_near(frame) || unsafe { is_on_one_stack::<K>(position, frame, steps) };
        return Ok(is_its.then_some(seen));
    }
    let seen = look_into(layout, state, scratch)?;
    let frame = seen.frame.unwrap_or(0);
    // SAFETY: as above.
    let is_its = !K::LOOKS_THROUGH_STACKS || unsafe { is_on_stack::<K>(position, frame, steps) };
    Ok(is_its.then_some(seen))
}

/// The thread that made the state of the GIL's holder. As long as a process hands no states over and a CPU samples one
/// thread in one state, it is read once. If that state has ended meanwhile and the next one at its address was handed
/// over, the agent learns it with the next thread that the CPU samples, as if the first sample had come later: what the
/// sample itself is given rests on the C frame, not on the maker.
#[inline(always)]
fn maker_of(
    layout: &PythonLayout,
    process: &Process,
    state: u64,
    thread_pointer: u64,
    scratch: &SampleScratch,
) -> Option<u64> {
    let before = &scratch.before;
    let is_as_before = before.tid == scratch.record.header.tid
        && before.thread_state == state
        && before.maker == thread_pointer
        && process.hands_states_over == 0;
    if is_as_before {
        Some(before.maker)
    } else {
        maker(&CurrentProcess, layout, state)
    }
}

/// What a state records; its interpreter goes into the scratch.
#[inline(always)]
fn look_into(
    layout: &PythonLayout,
    state: u64,
    scratch: &mut SampleScratch,
) -> Result<Seen, Outcome> {
    let Some(seen) = see(&CurrentProcess, layout, state, &mut scratch.walk.code) else {
        return Err(Outcome::Unreadable);
    };
    scratch.interpreter = seen.interpreter;
    Ok(seen)
}

/// A state, and the innermost frame in it.
#[inline(always)]
fn innermost(state: u64, seen: Seen) -> Result<(u64, u64), Outcome> {
    match seen.frame {
        Some(frame) => Ok((state, frame)),
        None => Err(Outcome::Unreadable),
    }
}

/// How many steps of the walk one step of the search counts as, for a verifier that follows each.
const SEARCH_WEIGHT: u32 = 4;

/// The state that the thread has detached.
#[inline(always)]
fn detached<K: Kernel>(
    layout: &PythonLayout,
    process: &Process,
    position: &Position,
    steps: &mut Steps,
) -> Result<(u64, u64), Outcome> {
    let is_for_all = process.hands_states_over != 0;
    // Before 3.10 only the address of a state's innermost frame on the stack tells which state it is. A code object
    // keeps one frame for all its calls (`co_zombieframe`), so the address may be of an earlier call in another state.
    if is_for_all && !has_c_frames(layout) {
        return Err(Outcome::StateUnknown);
    }
    // SAFETY: there is no other reference to the scratch of the steps.
    let (outcome, state) = unsafe { search::<K>(layout, process, position, is_for_all, steps) };
    match Outcome::from_number(outcome) {
        Some(Outcome::Complete) => {}
        Some(outcome) => return Err(outcome),
        None => return Err(Outcome::StateUnknown),
    }
    // SAFETY: as above.
    let scratch = unsafe { &mut *steps.scratch };
    if is_for_all && !may_be_its(process, position.thread_pointer, scratch) {
        return Err(Outcome::StateUnknown);
    }
    let seen = look_into(layout, state, scratch)?;
    if is_for_all {
        let pointer = position.thread_pointer;
        let at = seen.progress(&CurrentProcess, layout);
        note_user(process, state, seen.maker, pointer, at, scratch);
    }
    innermost(state, seen)
}

/// How the search for the state has ended, as a number of [`Outcome`], and the state that it has found.
///
/// # Safety
/// There is no other reference to the scratch of the steps.
#[inline(always)]
unsafe fn search<K: Kernel>(
    layout: &PythonLayout,
    process: &Process,
    position: &Position,
    is_for_all: bool,
    steps: &mut Steps,
) -> (u32, u64) {
    let read = &CurrentProcess;
    // SAFETY: the caller vouches for the scratch; the body gets the `Steps` it expects.
    unsafe {
        let SampleScratch { search, makers, .. } = &mut *steps.scratch;
        if search.start(read, layout, process, position, is_for_all, makers) {
            let context: *mut Steps = steps;
            let step = search_step::<K>;
            repeat::<K, MAX_SEARCH_STEPS, SEARCH_WEIGHT>(MAX_SEARCH_STEPS, step, context.cast());
        }
        let search = &(*steps.scratch).search;
        let (outcome, found, at) = (search.outcome, search.found, search.found_at);
        let is_its = outcome != Outcome::Complete as u32
            || if has_c_frames(layout) {
                is_on_one_stack::<K>(position, at, steps)
            } else {
                is_on_stack::<K>(position, at, steps)
            };
        if is_its {
            (outcome, found)
        } else {
            (Outcome::StateUnknown as u32, found)
        }
    }
}

/// One step of the search: 0 to go on, 1 to stop.
extern "C" fn search_step<K: Kernel>(_index: u64, steps: *mut c_void) -> i64 {
    // SAFETY: as in `take_steps`.
    let (layout, process, scratch) = unsafe {
        let steps = &*steps.cast::<Steps>();
        (&*steps.layout, &*steps.process, &mut *steps.scratch)
    };
    let SampleScratch {
        search,
        walk,
        makers,
        ..
    } = scratch;
    let goes_on = if K::HAS_SHORTCUTS {
        search.step::<_, FRAMES_AT_ONCE>(&CurrentProcess, layout, process, walk, makers)
    } else {
        search.step::<_, 1>(&CurrentProcess, layout, process, walk, makers)
    };
    i64::from(!goes_on)
}

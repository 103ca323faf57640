//! The Python stack of the current thread.

use core::ffi::c_void;

use profiler_common::{
    code::{StateKey, StateUse},
    counter::Counter,
    outcome::Outcome,
    python::{Process, PythonLayout},
    walk::{
        FRAMES_AT_ONCE, MAX_PAGE_STEPS, MAX_SCAN_STEPS, MAX_SEARCH_STEPS, MAX_STEPS, Position,
        ReadUser as _, Seen, attached_place, code_version, has_c_frames, holder, may_be_in, see,
        seen_in, step,
    },
};

use crate::{
    codes::StackCodes,
    count::bump,
    kernel::Kernel,
    maps::{PROCESSES, STATE_USERS},
    scratch::{KnownCodes, SampleScratch},
    stage,
    task::Thread,
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
/// many. It is long because it has a line for each outcome that is counted.
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
    match outcome {
        Outcome::NoThreadState => bump(Counter::WalkNoThreadState),
        Outcome::StateUnknown => bump(Counter::WalkStateUnknown),
        Outcome::Unreadable => bump(Counter::WalkUnreadable),
        Outcome::NotCode => bump(Counter::WalkNotCode),
        Outcome::Truncated => bump(Counter::WalkTruncated),
        Outcome::TooManyThreads => bump(Counter::WalkTooManyThreads),
        _ => {}
    }
    outcome
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
        repeat::<K, { MAX_STEPS / STEPS_AT_ONCE }, { STEPS_AT_ONCE / 2 }>(
            MAX_STEPS / STEPS_AT_ONCE,
            take_steps::<K>,
            (&raw mut steps).cast(),
        );
        (*steps.scratch).walk.outcome
    };
    Outcome::from_number(outcome).unwrap_or(Outcome::Truncated)
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

/// The state that the current thread runs in, as far as something proves it, and its innermost frame.
#[inline(always)]
fn thread_state<K: Kernel>(
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
    // Most samples do not need the end of the stack.
    let position = Position::new(
        pointer,
        registers.instruction,
        registers.stack,
        thread.first_stack(),
    );
    let mut steps = Steps {
        layout,
        process,
        scratch,
        known,
    };
    if layout.runtime_current != 0
        && let Some((state, seen)) = held::<K>(layout, process, &position, &mut steps)?
    {
        return innermost(state, seen);
    }
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

/// Whether the thread whose stack holds the C frame of the GIL's holder may itself be the holder (before 3.12). In a
/// process that hands states over, another thread may have attached the state and run no Python yet. So a thread that
/// was seen to have detached the state is taken for its holder only if it is back in the interpreter's own code, or if
/// its Python has advanced.
#[inline(always)]
fn may_hold(
    layout: &PythonLayout,
    process: &Process,
    state: u64,
    seen: &Seen,
    position: &Position,
    scratch: &SampleScratch,
) -> bool {
    if process.hands_states_over == 0
        || position.instruction.wrapping_sub(process.text_start) < process.text_size
    {
        return true;
    }
    match last_use(process, state, scratch) {
        Some(last) => {
            last.detached_at == 0
                || last.thread_pointer != position.thread_pointer
                || last.detached_at != seen.progress(&CurrentProcess, layout)
        }
        None => true,
    }
}

/// The state that has the GIL (before 3.12), if that is this thread's.
#[inline(always)]
fn held<K: Kernel>(
    layout: &PythonLayout,
    process: &Process,
    position: &Position,
    steps: &mut Steps,
) -> Result<Option<(u64, Seen)>, Outcome> {
    // SAFETY: there is no other reference to the scratch of the steps.
    let scratch = unsafe { &mut *steps.scratch };
    let block = &mut scratch.walk.code;
    let state = holder(&CurrentProcess, layout, process, position, block);
    if state == 0 {
        return Ok(None);
    }
    let (seen, is_its) = if has_c_frames(layout) {
        // `holder` has read it.
        let seen = seen_in(&CurrentProcess, layout, &scratch.walk.code);
        let frame = scratch.walk.code.u64_at(layout.thread_cframe);
        // SAFETY: as above.
        let is_its =
            position.is_near(frame) || unsafe { is_on_one_stack::<K>(position, frame, steps) };
        (seen, is_its)
    } else {
        let seen = look_into(layout, state, scratch)?;
        let frame = seen.frame.unwrap_or(0);
        // SAFETY: as above.
        let is_its =
            !K::LOOKS_THROUGH_STACKS || unsafe { is_on_stack::<K>(position, frame, steps) };
        (seen, is_its)
    };
    if !is_its {
        return Ok(None);
    }
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

/// Notes that the thread has this state: in a process that hands states over, `sample` keeps which thread has which.
#[inline(always)]
fn note_user(
    process: &Process,
    state: u64,
    maker: u64,
    thread_pointer: u64,
    detached_at: u64,
    scratch: &SampleScratch,
) {
    let tgid = scratch.record.header.tgid;
    if maker == thread_pointer && process.hands_states_over == 0 {
        return;
    }
    if process.hands_states_over == 0
        && let Some(entry) = PROCESSES.get_ptr_mut(&tgid)
    {
        // SAFETY: map values stay readable and writable while the program runs.
        unsafe { (*entry).hands_states_over = 1 };
    }
    let key = state_key(state, tgid);
    let user = StateUse {
        thread_pointer,
        maker,
        process_start: process.start_time,
        detached_at,
    };
    // What this CPU has seen last is no evidence: another CPU may have written since, about the same state or about the
    // next one at its address.
    if let Some(last) = STATE_USERS.get_ptr(&key)
        // SAFETY: map values stay readable while the program runs.
        && unsafe { *last } == user
    {
        return;
    }
    // If the kernel refuses the update, the next sample tries again.
    let _ = STATE_USERS.insert(&key, &user, 0);
}

#[inline(always)]
fn state_key(address: u64, tgid: u32) -> StateKey {
    StateKey {
        address,
        tgid,
        reserved: 0,
    }
}

/// Whether a state that the thread seems to have detached may be its.
#[inline(always)]
fn may_be_its(process: &Process, thread_pointer: u64, scratch: &SampleScratch) -> bool {
    let search = &scratch.search;
    let last = last_use(process, search.found, scratch);
    may_be_in(search.is_found_own != 0, last.as_ref(), thread_pointer)
}

/// The thread that was last seen to have a state.
#[inline(always)]
fn last_use(process: &Process, state: u64, scratch: &SampleScratch) -> Option<StateUse> {
    let key = state_key(state, scratch.record.header.tgid);
    // SAFETY: map values stay readable while the program runs. The element may be recycled for another state meanwhile:
    // the result is then about a state that another thread uses, or this one.
    let last = STATE_USERS.get_ptr(&key).map(|last| unsafe { *last });
    last.filter(|last| last.process_start == process.start_time)
}

/// Whether the address of a frame is on the thread's stack.
///
/// # Safety
/// There is no other reference to the scratch of the steps.
#[inline(always)]
unsafe fn is_on_stack<K: Kernel>(position: &Position, frame: u64, steps: &mut Steps) -> bool {
    if !K::LOOKS_THROUGH_STACKS {
        return false;
    }
    // SAFETY: the caller vouches for the scratch; the body gets the `Steps` it expects.
    unsafe {
        (*steps.scratch).scan.start(position, frame);
        let context: *mut Steps = steps;
        repeat::<K, MAX_SCAN_STEPS, 4>(MAX_SCAN_STEPS, scan_step, context.cast());
        (*steps.scratch).scan.is_found != 0
    }
}

/// Whether everything between the stack pointer and a C frame belongs to one stack.
///
/// # Safety
/// There is no other reference to the scratch of the steps.
#[inline(always)]
unsafe fn is_on_one_stack<K: Kernel>(position: &Position, frame: u64, steps: &mut Steps) -> bool {
    if !K::LOOKS_THROUGH_STACKS {
        return position.is_near(frame);
    }
    // SAFETY: the caller vouches for the scratch; the body gets the `Steps` it expects.
    unsafe {
        (*steps.scratch).pages.start(position, frame);
        let context: *mut Steps = steps;
        repeat::<K, MAX_PAGE_STEPS, 8>(MAX_PAGE_STEPS, page_step, context.cast());
        (*steps.scratch).pages.is_whole != 0
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
    // SAFETY: there is no other reference to the scratch of the steps; the body gets the `Steps` it expects.
    let (outcome, state) = unsafe {
        let SampleScratch { search, makers, .. } = &mut *steps.scratch;
        if search.start(
            &CurrentProcess,
            layout,
            process,
            position,
            is_for_all,
            makers,
        ) {
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
    };
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

/// One step of the check of the stack's pages: 0 to go on, 1 to stop.
extern "C" fn page_step(_index: u64, steps: *mut c_void) -> i64 {
    // SAFETY: as in `take_steps`.
    let scratch = unsafe { &mut *(*steps.cast::<Steps>()).scratch };
    i64::from(!scratch.pages.step(&CurrentProcess))
}

/// One step of the scan of the stack: 0 to go on, 1 to stop.
extern "C" fn scan_step(_index: u64, steps: *mut c_void) -> i64 {
    // SAFETY: as in `take_steps`.
    let scratch = unsafe { &mut *(*steps.cast::<Steps>()).scratch };
    i64::from(!scratch.scan.step(&CurrentProcess, &mut scratch.walk.code))
}

//! Which thread was last seen to have which state, in a process that hands states over.

use profiler_common::{
    code::{StateKey, StateUse},
    python::{Process, PythonLayout},
    walk::{Position, Seen, may_be_in},
};

use crate::{
    maps::{PROCESSES, STATE_USERS},
    scratch::SampleScratch,
    user::CurrentProcess,
};

/// Whether the thread whose stack holds the C frame of the GIL's holder may itself be the holder (before 3.12). In a
/// process that hands states over, another thread may have attached the state and run no Python yet. So a thread that
/// was seen to have detached the state is taken for its holder only if it is back in the interpreter's own code, or if
/// its Python has advanced.
#[inline(always)]
pub(super) fn may_hold(
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

/// Notes that the thread has this state: in a process that hands states over, `sample` keeps which thread has which.
#[inline(always)]
pub(super) fn note_user(
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
pub(super) fn may_be_its(process: &Process, thread_pointer: u64, scratch: &SampleScratch) -> bool {
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

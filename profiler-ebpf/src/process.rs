//! Notices of processes that come, change and go, and what the kernel side forgets with them.

use profiler_common::{
    counter::Counter,
    event::{ProcessRecord, kind, process},
};

use crate::{
    config,
    count::bump,
    emit,
    maps::{EVENTS, PROCESSES, RESOURCES, SPAN_RECIPES, SPAN_STACKS},
    task,
};

/// A task was forked: `child` is its address. A thread is of no concern here. A process inherits what is known of its
/// parent, because its memory has the same layout: so a prefork worker is profiled from its first instruction.
#[inline(always)]
pub(crate) fn forked(child: *const u8) {
    let child = child as u64;
    let child_tgid: u32 = task::read(child + u64::from(config::task_tgid()));
    let header = emit::header(kind::PROCESS, size_of::<ProcessRecord>() as u32);
    if child_tgid == header.tgid {
        return;
    }
    let start_time = task::start_time(child);
    let Some(parent) = PROCESSES.get_ptr(&header.tgid) else {
        // Perhaps the agent has not inspected the parent yet.
        return notify(child_tgid, process::FORK, header.tgid, start_time);
    };
    // SAFETY: map values stay readable while the program runs; the parent is alive.
    let mut entry = unsafe { *parent };
    entry.start_time = start_time;
    if PROCESSES.insert(&child_tgid, &entry, 0).is_err() {
        // The agent tries again, with the recipe, and counts what is refused then.
        bump(Counter::ProcessMapFull);
    } else if let Some(recipe) = SPAN_RECIPES.get_ptr(&header.tgid) {
        // SAFETY: map values stay readable while the program runs; the parent is alive.
        let recipe = unsafe { &*recipe };
        // If it is refused, the agent writes it anyway.
        let _ = SPAN_RECIPES.insert(&child_tgid, recipe, 0);
    }
    notify(child_tgid, process::FORK, header.tgid, start_time);
}

/// The current process replaced its program: nothing that was known of its memory holds.
#[inline(always)]
pub(crate) fn executed(tgid: u32, tid: u32) {
    forget_thread(tid);
    let _ = RESOURCES.remove(&tgid);
    let _ = SPAN_RECIPES.remove(&tgid);
    if let Some(entry) = PROCESSES.get_ptr_mut(&tgid) {
        // SAFETY: the entry is this process's own, which has a single thread now.
        unsafe { (*entry).runtime = 0 };
    }
    notify(tgid, process::EXEC, 0, 0);
}

/// The current thread is exiting.
#[inline(always)]
pub(crate) fn exited(tgid: u32, tid: u32) {
    forget_thread(tid);
    if !task::is_last_thread() {
        return;
    }
    let _ = PROCESSES.remove(&tgid);
    let _ = SPAN_RECIPES.remove(&tgid);
    let _ = RESOURCES.remove(&tgid);
    notify(tgid, process::EXIT, 0, 0);
}

/// Thread ids are reused: what was kept for this one must not be taken for the next thread's. It may be absent.
#[inline(always)]
fn forget_thread(tid: u32) {
    let _ = SPAN_STACKS.remove(&tid);
}

#[inline(always)]
fn notify(tgid: u32, what: u32, parent: u32, start_time: u64) {
    let Some(mut entry) = EVENTS.reserve::<ProcessRecord>(0) else {
        bump(Counter::ProcessRingFull);
        return;
    };
    let mut header = emit::header(kind::PROCESS, size_of::<ProcessRecord>() as u32);
    header.tgid = tgid;
    header.tid = tgid;
    entry.write(ProcessRecord {
        header,
        what,
        parent,
        start_time,
    });
    entry.submit(emit::WAKE);
}

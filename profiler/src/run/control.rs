//! The control plane's thread, *control*: runs the targets, and watches over those who read for it and for the data
//! plane what may make them wait.

use std::{
    iter::once,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use super::{ControlMessage, Shared, SymbolWorkers};
use crate::{
    health::{Gauge, Health, Loss},
    kernel::MappingNotices,
    pipeline::Notice,
    targets::{
        FileId, Targets,
        facility::Word,
        look::looks::{Look, Looks},
    },
    time::{BootNanos, monotonic_now},
};

/// How often the control plane takes the notices of mappings, for a while after the last one.
const TAKE_MAPPINGS: Duration = Duration::from_millis(50);
/// The same while nothing happens.
const TAKE_MAPPINGS_IDLE: Duration = Duration::from_millis(200);
/// Messages that are handled before a snapshot is published.
const MESSAGES_AT_ONCE: usize = 4096;
/// How long something has to have been the last that happened.
const IDLE_AFTER: Duration = Duration::from_secs(2);
/// How often those who read files are watched over while the data plane ends.
const WATCH_OVER_LAST: Duration = Duration::from_millis(50);
/// How long the start waits for the first look at every process: a hostile one could make it for ever.
/// Some processes that block do not take it all.
const FIRST_LOOKS: Duration = Duration::from_millis(2_500);
/// How often somebody is watched over who reads what may make them wait.
const SUPERVISE: Duration = Duration::from_millis(200);

/// Has every process looked at once, as long as that takes no longer than somebody would wait.
pub(super) fn take_first_looks(
    targets: &mut Targets,
    looks: &Looks,
    inbox: &Receiver<ControlMessage>,
) {
    let start = monotonic_now();
    let mut waiting = ask(targets, looks);
    while waiting > 0 {
        let left = FIRST_LOOKS.saturating_sub(start.elapsed());
        if left.is_zero() {
            return;
        }
        // Nothing else is sent before there are threads that send it.
        match inbox.recv_timeout(left.min(SUPERVISE)) {
            Ok(ControlMessage::Look(look)) => {
                waiting -= usize::from(!matches!(look, Look::Unblocked(_)));
                take_look(targets, look);
            }
            Ok(_) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let given_up = looks.give_up();
        waiting = waiting.saturating_sub(given_up.blocked.len() + given_up.never_begun.len());
        targets.given_up(&given_up);
    }
}

/// Hands on what somebody must look at; how many those are.
fn ask(targets: &mut Targets, looks: &Looks) -> usize {
    let requests = targets.take_requests().into_iter();
    requests
        .filter(|request| looks.ask(request.clone()))
        .count()
}

fn take_look(targets: &mut Targets, look: Look) {
    match look {
        Look::Found(seen) => targets.answer(seen),
        Look::Nothing(_) => {}
        Look::Unblocked(process) => targets.unblocked(process),
    }
}

pub(super) fn run_control(
    mut targets: Targets,
    mut mappings: Option<MappingNotices>,
    inbox: &Receiver<ControlMessage>,
    looks: &Looks,
    readers: &SymbolWorkers,
    shared: &Shared,
) {
    let mut happened = monotonic_now();
    loop {
        shared.health.turns(Gauge::ControlTurned);
        if let Some(notices) = &mut mappings
            && take_mappings(notices, &mut targets, &shared.health)
        {
            happened = monotonic_now();
        }
        let now = BootNanos::now();
        if now >= targets.scan_due() {
            targets.scan();
        }
        targets.sampled(std::mem::take(&mut *shared.sampled()));
        let due = targets.due(now);
        if let Some(snapshot) = targets.changes() {
            shared.publish(snapshot);
        }
        ask(&mut targets, looks);
        targets.given_up(&looks.give_up());
        // The files that it gives up are late, and count as that where they are met.
        readers.supervise();
        let due = due.map_or(targets.scan_due(), |due| due.min(targets.scan_due()));
        let wait = Duration::from_nanos(due.0.saturating_sub(BootNanos::now().0));
        let mut wait = wait.min(SUPERVISE);
        if mappings.is_some() {
            wait = wait.min(if happened.elapsed() < IDLE_AFTER {
                TAKE_MAPPINGS
            } else {
                TAKE_MAPPINGS_IDLE
            });
        }
        match inbox.recv_timeout(wait) {
            Ok(message) => {
                happened = monotonic_now();
                // What was mapped before something happened must be known when that is handled.
                if let Some(notices) = &mut mappings {
                    take_mappings(notices, &mut targets, &shared.health);
                }
                // What waits is handled before the next snapshot is published: not for ever, if it comes as fast.
                let waiting = once(message).chain(inbox.try_iter());
                for message in waiting.take(MESSAGES_AT_ONCE) {
                    shared.health.turns(Gauge::ControlTurned);
                    match message {
                        ControlMessage::Stop => return,
                        ControlMessage::Notice(Notice::Process(notice)) => targets.notice(notice),
                        ControlMessage::Notice(Notice::Resource(resource)) => {
                            targets.hear(resource.pid, &Word::Resource(&resource));
                        }
                        ControlMessage::Notice(Notice::StaleMappings(pid)) => {
                            targets.refresh_mappings(pid);
                        }
                        ControlMessage::Notice(Notice::StaleRecipe(pid, class)) => {
                            targets.hear(pid, &Word::StaleRecipe(class));
                        }
                        ControlMessage::Notice(Notice::UnknownInterpreter(pid)) => {
                            targets.hear(pid, &Word::UnknownInterpreter);
                        }
                        ControlMessage::Look(look) => take_look(&mut targets, look),
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Watches over those who read files until the data plane, which has the other hold of them, waits for none any more.
pub(super) fn watch_over_last(readers: &Arc<SymbolWorkers>) {
    while Arc::strong_count(readers) > 1 {
        readers.supervise();
        thread::sleep(WATCH_OVER_LAST);
    }
}

/// Hands on what was mapped; whether anything was.
fn take_mappings(notices: &mut MappingNotices, targets: &mut Targets, health: &Health) -> bool {
    let mut any = false;
    let lost = notices.drain(|mapped| {
        any = true;
        let file = FileId {
            device: mapped.device,
            inode: mapped.inode,
        };
        targets.mapped(mapped.pid, file);
    });
    if lost > 0 {
        health.add(Loss::MappingNoticeLost, lost);
        targets.note_loss();
    }
    any || lost > 0
}

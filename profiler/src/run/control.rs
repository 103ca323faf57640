//! The control plane's threads: *control*, which runs the targets, and *looker*.

use std::{
    iter::once,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError},
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
        opentelemetry::looker::{Looker, Request},
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
const FIRST_LOOKS: Duration = Duration::from_millis(500);

/// Looks at processes as long as somebody asks, and tells what was found. Nobody waits for it: a
/// hostile process could keep it for ever.
pub(super) fn run_looker(requests: &Receiver<Request>, answers: &SyncSender<ControlMessage>) {
    let mut looker = Looker::default();
    while let Ok(request) = requests.recv() {
        let answer = looker.look(&request).map(Box::new);
        if let Some(answer) = answer
            && answers.send(ControlMessage::Answer(answer)).is_err()
        {
            return;
        }
    }
}

/// Has every process looked at once, as long as that takes no longer than somebody would wait.
pub(super) fn take_first_looks(
    targets: &mut Targets,
    requests: &SyncSender<Request>,
    inbox: &Receiver<ControlMessage>,
    health: &Health,
) {
    let start = monotonic_now();
    let mut waiting = ask(targets, requests, health);
    while waiting > 0 {
        let left = FIRST_LOOKS.saturating_sub(start.elapsed());
        // Nothing else is sent before there are threads that send it.
        let Ok(ControlMessage::Answer(answer)) = inbox.recv_timeout(left) else {
            return;
        };
        targets.answer(*answer);
        waiting -= 1;
    }
}

/// Hands on what somebody must look at; how many those are.
fn ask(targets: &mut Targets, requests: &SyncSender<Request>, health: &Health) -> usize {
    let mut asked = 0;
    for request in targets.take_requests() {
        match requests.try_send(request) {
            Ok(()) => asked += 1,
            Err(TrySendError::Full(_)) => health.count(Loss::LookDropped),
            Err(TrySendError::Disconnected(_)) => {}
        }
    }
    asked
}

pub(super) fn run_control(
    mut targets: Targets,
    mut mappings: Option<MappingNotices>,
    inbox: &Receiver<ControlMessage>,
    requests: &SyncSender<Request>,
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
        ask(&mut targets, requests, &shared.health);
        // The files that it gives up are late, and count as that where they are met.
        readers.supervise();
        let due = due.map_or(targets.scan_due(), |due| due.min(targets.scan_due()));
        let wait = Duration::from_nanos(due.0.saturating_sub(BootNanos::now().0));
        let mut wait = wait.min(readers.deadline());
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
                        ControlMessage::Answer(answer) => targets.answer(*answer),
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

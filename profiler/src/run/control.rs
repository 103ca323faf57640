//! The control plane's thread, *control*: runs the targets, and watches over those who read for it and for the data
//! plane what may make them wait.

use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use super::{
    shared::{ControlMessage, Shared},
    workers::SymbolWorkers,
};
use crate::{
    health::{Gauge, Loss},
    kernel::{ControlError, MappingNotices},
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
/// How often it takes what workers bring that open and read files of processes, while any is on its way.
const TAKE_NEWS: Duration = Duration::from_millis(5);
/// Messages that are handled before a snapshot is published.
const MESSAGES_AT_ONCE: usize = 4096;
/// Quiet time after which this thread counts as idle.
const IDLE_AFTER: Duration = Duration::from_secs(2);
/// How often the deadlines of the workers that read symbols are checked while the data plane ends.
const WATCH_OVER_LAST: Duration = Duration::from_millis(50);
/// How long the start waits for the first look at every process: a hostile process could make it wait without end. It is
/// longer than several blocked processes take.
const FIRST_LOOKS: Duration = Duration::from_millis(2_500);
/// How often the deadlines of workers are checked.
const SUPERVISE: Duration = Duration::from_millis(200);

/// What the thread owns.
pub(super) struct ControlPlane {
    pub(super) targets: Targets,
    /// `None` if the kernel does not tell of mapped libraries.
    pub(super) mappings: Option<MappingNotices>,
    pub(super) inbox: Receiver<ControlMessage>,
    pub(super) looks: Looks,
    pub(super) readers: Arc<SymbolWorkers>,
    pub(super) shared: Arc<Shared>,
}

impl ControlPlane {
    /// Looks at the processes that there are, and starts the sampling clock unless it runs already.
    pub(super) fn begin(&mut self, is_sampling: bool) -> Result<(), ControlError> {
        self.look_first();
        self.targets.due_first();
        if !is_sampling {
            self.targets.start_sampling()?;
        }
        self.shared.publish(self.targets.snapshot());
        // From now on a thread that does not turn is missed.
        self.shared.health.turns(Gauge::DataTurned);
        self.shared.health.turns(Gauge::ControlTurned);
        Ok(())
    }

    /// Has every process looked at once, as long as that takes no longer than somebody would wait.
    fn look_first(&mut self) {
        let start = monotonic_now();
        let mut waiting = self.ask();
        while waiting > 0 {
            let left = FIRST_LOOKS.saturating_sub(start.elapsed());
            if left.is_zero() {
                return;
            }
            // Nothing else is sent before there are threads that send it.
            match self.inbox.recv_timeout(left.min(SUPERVISE)) {
                Ok(ControlMessage::Look(look)) => {
                    waiting -= usize::from(!matches!(look, Look::Unblocked(_)));
                    self.take_look(look);
                }
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            let given_up = self.looks.give_up();
            waiting = waiting.saturating_sub(given_up.blocked.len() + given_up.never_begun.len());
            self.targets.given_up(&given_up);
        }
    }

    /// Runs until the session stops.
    pub(super) fn run(&mut self) {
        let mut happened = monotonic_now();
        loop {
            self.shared.health.turns(Gauge::ControlTurned);
            if self.take_mappings() {
                happened = monotonic_now();
            }
            let due = self.work();
            let wait = Duration::from_nanos(due.0.saturating_sub(BootNanos::now().0));
            let wait = wait.min(self.longest_wait(happened.elapsed()));
            match self.inbox.recv_timeout(wait) {
                Ok(message) => {
                    happened = monotonic_now();
                    if self.take_messages(message).is_break() {
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Drops everything but the workers that read symbols. With the targets, the kernel programs are detached.
    pub(super) fn end(self) -> Arc<SymbolWorkers> {
        self.readers
    }

    /// Does what is due; when the next is.
    fn work(&mut self) -> BootNanos {
        let now = BootNanos::now();
        if now >= self.targets.scan_due() {
            self.targets.scan();
        }
        self.targets
            .sampled(std::mem::take(&mut *self.shared.sampled()));
        let due = self.targets.due(now);
        if let Some(snapshot) = self.targets.changes() {
            self.shared.publish(snapshot);
        }
        self.ask();
        self.targets.given_up(&self.looks.give_up());
        // The files that it gives up are late, and count as that where they are met.
        self.readers.supervise();
        let scan = self.targets.scan_due();
        due.map_or(scan, |due| due.min(scan))
    }

    /// The longest that it waits for a message, if nothing has happened for so long.
    fn longest_wait(&self, idle: Duration) -> Duration {
        match self.mappings {
            _ if self.targets.expects_news() => TAKE_NEWS,
            None => SUPERVISE,
            Some(_) if idle < IDLE_AFTER => TAKE_MAPPINGS,
            Some(_) => SUPERVISE.min(TAKE_MAPPINGS_IDLE),
        }
    }

    /// Handles a message and those that wait behind it, until one says to stop.
    fn take_messages(&mut self, first: ControlMessage) -> ControlFlow<()> {
        // What was mapped before something happened must be known when that is handled.
        self.take_mappings();
        let mut next = Some(first);
        // What waits is handled before the next snapshot is published, but no more than this at once: messages may come
        // as fast as they are handled.
        for _ in 0..MESSAGES_AT_ONCE {
            let Some(message) = next.take().or_else(|| self.inbox.try_recv().ok()) else {
                break;
            };
            self.shared.health.turns(Gauge::ControlTurned);
            match message {
                ControlMessage::Stop => return ControlFlow::Break(()),
                ControlMessage::Notice(notice) => self.take_notice(notice),
                ControlMessage::Look(look) => self.take_look(look),
            }
        }
        ControlFlow::Continue(())
    }

    fn take_notice(&mut self, notice: Notice) {
        let targets = &mut self.targets;
        match notice {
            Notice::Process(notice) => targets.notice(notice),
            Notice::Resource(resource) => targets.hear(resource.pid, &Word::Resource(&resource)),
            Notice::StaleMappings(pid) => targets.refresh_mappings(pid),
            Notice::StaleRecipe(pid, class) => targets.hear(pid, &Word::StaleRecipe(class)),
            Notice::UnknownInterpreter(pid) => targets.hear(pid, &Word::UnknownInterpreter),
        }
    }

    /// Hands on what somebody must look at; how many those are.
    fn ask(&mut self) -> usize {
        let requests = self.targets.take_requests().into_iter();
        requests
            .filter(|request| self.looks.ask(request.clone()))
            .count()
    }

    fn take_look(&mut self, look: Look) {
        match look {
            Look::Found(seen) => self.targets.answer(seen),
            Look::Nothing(_) => {}
            Look::Unblocked(process) => self.targets.unblocked(process),
        }
    }

    /// Hands on what was mapped; whether anything was.
    fn take_mappings(&mut self) -> bool {
        let Some(notices) = &mut self.mappings else {
            return false;
        };
        let mut any = false;
        let lost = notices.drain(|mapped| {
            any = true;
            let file = FileId {
                device: mapped.device,
                inode: mapped.inode,
            };
            self.targets.mapped(mapped.pid, file);
        });
        if lost > 0 {
            self.shared.health.add(Loss::MappingNoticeLost, lost);
            self.targets.note_loss();
        }
        any || lost > 0
    }
}

/// Checks the deadlines of the workers that read symbols until the data plane, which shares them, waits for none.
pub(super) fn watch_over_last(readers: &Arc<SymbolWorkers>) {
    while Arc::strong_count(readers) > 1 {
        readers.supervise();
        thread::sleep(WATCH_OVER_LAST);
    }
}

//! What errands have brought that was not there at once.

use std::time::Duration;

use super::{Targets, files::FilesRead};
use crate::{
    id::Pid,
    targets::{
        errands::{Delivery, News, Sender},
        facility::Next,
    },
    time::{BootNanos, monotonic_now},
};

impl Targets {
    /// Takes over what has come.
    pub(super) fn take_news(&mut self) {
        let News {
            delivered,
            blocked,
            again,
        } = self.facilities.errands.news();
        for delivery in delivered {
            self.take_delivery(delivery);
        }
        for process in blocked {
            tracing::warn!(
                pid = %process.pid,
                "a process keeps its files or its command line from being read: it is not followed as long as that lasts"
            );
        }
        let now = BootNanos::now();
        for process in again {
            let known = self.processes.get_mut(&process.pid);
            if let Some(known) = known.filter(|known| known.process() == process) {
                known.due.soon(now);
            }
        }
    }

    /// Waits for all that is on its way, as long as that takes no longer than somebody would wait.
    pub(in crate::targets) fn take_all_news(&mut self, patience: Duration) {
        let start = monotonic_now();
        while start.elapsed() < patience && self.facilities.errands.wait_for_some() {
            self.take_news();
        }
        self.take_news();
    }

    /// Whether a process keeps its files or its command line from being read.
    pub fn is_unreadable(&self, pid: Pid) -> bool {
        let known = self.processes.get(&pid);
        known.is_some_and(|known| self.facilities.errands.is_blocked(known.process()))
    }

    fn take_delivery(&mut self, delivery: Delivery) {
        let Delivery {
            process,
            to,
            result,
        } = delivery;
        let known = self.processes.get(&process.pid);
        if known.is_none_or(|known| known.process() != process) {
            return;
        }
        match to {
            Sender::Table => {
                if let Ok(read) = result.downcast::<FilesRead>() {
                    self.take_files(process, &read, BootNanos::now());
                }
            }
            Sender::Facility(place) => {
                let pid = process.pid;
                let next = self.change(pid, |facilities, known| {
                    facilities.learn_late(known, place, result)
                });
                self.plan(pid, next.unwrap_or(Next::Unchanged));
                self.tell(pid);
            }
        }
    }
}

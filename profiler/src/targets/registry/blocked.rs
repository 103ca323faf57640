//! Processes that were not looked at, because they block the workers or because no worker was left.

use super::Targets;
use crate::{
    id::ProcessKey,
    targets::{
        facility::NotLooked,
        look::{Request, looks::GivenUpLooks},
    },
    time::BootNanos,
};

impl Targets {
    /// Takes over that processes were not looked at. One that blocks is not looked at again before the worker that was
    /// left to it is back ([`Self::unblocked`]): so it blocks one at a time, whatever it does.
    pub fn given_up(&mut self, looks: &GivenUpLooks) {
        for request in &looks.blocked {
            self.blocked.insert(request.process);
            self.note_not_looked(request, NotLooked::Blocked);
        }
        for request in &looks.never_begun {
            self.note_not_looked(request, NotLooked::NoWorker);
        }
    }

    /// Takes over that a process blocks no more, or is gone: if it is still there, it is looked at anew, after a while.
    pub fn unblocked(&mut self, process: ProcessKey) {
        self.blocked.remove(&process);
        let known = self.processes.get_mut(&process.pid);
        if let Some(known) = known.filter(|known| known.process() == process) {
            known.looks.later(BootNanos::now());
        }
    }

    fn note_not_looked(&mut self, request: &Request, why: NotLooked) {
        let process = request.process;
        let known = self.processes.get_mut(&process.pid);
        let Some(known) = known.filter(|known| known.process() == process) else {
            return;
        };
        if why == NotLooked::NoWorker {
            known.looks.later(BootNanos::now());
        }
        self.facilities.not_looked(known, request, why);
        self.tell(process.pid);
    }
}

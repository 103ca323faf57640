//! What one process has learnt and others share: those that it was forked from, and those that were forked from them.

use std::{collections::HashSet, iter};

use super::{Targets, facilities::Facilities};
use crate::id::{Pid, ProcessKey};

/// Ancestors that are looked at.
const MAX_ANCESTORS: usize = 8;

impl Targets {
    /// Hands on what a process has learnt in memory that was there before the fork: it need not be learnt by each child
    /// anew, which may not live long enough.
    pub(super) fn hand_on(&mut self, pid: Pid) {
        let has_news = self.change(pid, Facilities::has_for_kin);
        let Some(known) = self.processes.get(&pid).cloned() else {
            return;
        };
        if has_news != Some(true) {
            return;
        }
        for kin in self.kin(known.process()) {
            self.change(kin, |facilities, of_kin| {
                facilities.take_from_kin(of_kin, &known);
            });
            self.tell(kin);
        }
    }

    /// The ancestors of a process and their children, and its own children.
    fn kin(&self, process: ProcessKey) -> Vec<Pid> {
        let parent = |of: &ProcessKey| {
            let known = self.processes.get(&of.pid);
            known.filter(|known| known.process() == *of)?.parent
        };
        let line = iter::successors(Some(process), parent).take(MAX_ANCESTORS);
        let line: HashSet<ProcessKey> = line.collect();
        let processes = self.processes.values();
        let is_kin = |it: &ProcessKey| line.contains(it);
        processes
            .filter(|it| is_kin(&it.process()) || it.parent.as_ref().is_some_and(is_kin))
            .filter(|it| it.process() != process)
            .map(super::Known::pid)
            .collect()
    }
}

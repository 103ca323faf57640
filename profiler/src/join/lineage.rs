//! Which process was forked from which, and which spans have ended in the one and may still be current in the other.

use std::{collections::HashMap, iter, num::NonZeroUsize};

use crate::{
    by_process::ByProcess,
    id::{Pid, SpanId},
};

/// Processes remembered; when full all are forgotten. Their number is that of the host's, as the end of each is told.
const MAX_PROCESSES: usize = 65_536;
/// Ancestors followed.
const MAX_ANCESTORS: usize = 8;

/// Forked processes, until they end or begin another program.
#[derive(Debug)]
pub(super) struct Lineage {
    parents: HashMap<Pid, Pid>,
    /// Spans that have ended in the process that has begun them, of processes that have forked.
    ended: ByProcess<SpanId, ()>,
    /// How many children of a process are remembered.
    children: HashMap<Pid, usize>,
}

impl Lineage {
    /// Remembers at most `max_spans` spans that have ended.
    pub(super) fn new(max_spans: NonZeroUsize) -> Self {
        Self {
            parents: HashMap::new(),
            ended: ByProcess::new(max_spans),
            children: HashMap::new(),
        }
    }

    /// A process was forked.
    pub(super) fn fork(&mut self, child: Pid, parent: Pid) {
        if self.parents.len() >= MAX_PROCESSES {
            self.parents.clear();
            self.children.clear();
        }
        self.forget(child);
        self.parents.insert(child, parent);
        *self.children.entry(parent).or_default() += 1;
    }

    /// A process has ended, or has begun another program. What has ended in it still matters to its children.
    pub(super) fn forget(&mut self, pid: Pid) {
        if !self.children.contains_key(&pid) {
            self.ended.forget(pid);
        }
        let Some(parent) = self.parents.remove(&pid) else {
            return;
        };
        if let Some(children) = self.children.get_mut(&parent) {
            *children -= 1;
            if *children == 0 {
                self.children.remove(&parent);
                self.ended.forget(parent);
            }
        }
    }

    /// A span has ended in a process.
    pub(super) fn end(&mut self, pid: Pid, span: SpanId) {
        if self.children.contains_key(&pid) {
            self.ended.put(pid, span, ());
        }
    }

    /// The processes that a process descends from, the nearest first.
    pub(super) fn ancestors(&self, pid: Pid) -> impl Iterator<Item = Pid> {
        let parent = |of: &Pid| self.parents.get(of).copied();
        // Bounded: where notices were lost, pids that are used again may form a cycle.
        iter::successors(parent(&pid), move |of| parent(of)).take(MAX_ANCESTORS)
    }

    /// Whether a span has ended in a process that a process descends from.
    pub(super) fn has_ended(&mut self, pid: Pid, span: SpanId) -> bool {
        if !self.parents.contains_key(&pid) {
            return false;
        }
        let ancestors: Vec<Pid> = self.ancestors(pid).collect();
        // Those that are asked for are kept the longest.
        let mut ancestors = ancestors.into_iter();
        ancestors.any(|ancestor| self.ended.get(ancestor, span).is_some())
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::Lineage;
    use crate::id::{Pid, SpanId};

    fn span(number: u64) -> SpanId {
        SpanId::new(number).unwrap()
    }

    fn lineage() -> Lineage {
        Lineage::new(NonZeroUsize::new(8).unwrap())
    }

    /// What ends in a process has ended for all that descend from it, and for no other.
    #[test]
    fn ends_hold_for_descendants() {
        let mut lineage = lineage();
        lineage.fork(Pid(2), Pid(1));
        lineage.fork(Pid(3), Pid(2));
        lineage.end(Pid(1), span(7));
        lineage.end(Pid(4), span(8));
        assert!(lineage.has_ended(Pid(2), span(7)) && lineage.has_ended(Pid(3), span(7)));
        assert!(!lineage.has_ended(Pid(1), span(7)) && !lineage.has_ended(Pid(3), span(8)));
        lineage.forget(Pid(1));
        assert!(lineage.has_ended(Pid(2), span(7)), "the parent has exited");
        // Another program knows nothing of it.
        lineage.forget(Pid(3));
        assert!(!lineage.has_ended(Pid(3), span(7)));
    }

    /// With its last child all goes that was kept of a process.
    #[test]
    fn nothing_is_kept_for_nobody() {
        let mut lineage = lineage();
        for child in [2, 3, 2] {
            lineage.fork(Pid(child), Pid(1));
        }
        lineage.end(Pid(1), span(7));
        lineage.forget(Pid(2));
        assert!(lineage.has_ended(Pid(3), span(7)));
        lineage.forget(Pid(3));
        assert!(lineage.children.is_empty() && lineage.parents.is_empty());
        lineage.fork(Pid(4), Pid(1));
        assert!(!lineage.has_ended(Pid(4), span(7)));
    }

    /// Pids that are used again may form a cycle.
    #[test]
    fn cycles_end() {
        let mut lineage = lineage();
        lineage.fork(Pid(2), Pid(1));
        lineage.fork(Pid(1), Pid(2));
        assert!(!lineage.has_ended(Pid(2), span(7)));
    }
}

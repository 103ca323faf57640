//! The targets as the data plane sees them: those that the control plane has published, their children of which it has
//! not heard yet, and for a while those that are gone.
//!
//! A child can be gone before the control plane hears of it. So it takes over its parent's facts here, when its notice
//! comes off the ring: before its first sample is named, and before anything else can have become of its parent.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    events::{ProcessChange, ProcessNotice},
    health::Loss,
    id::{Pid, ProcessKey},
    targets::{Snapshot, Target},
    time::{BootNanos, CLOCK_TICK},
};

/// How long a process that is gone keeps its names, unless its last record was met: its last samples may still be on the
/// way.
const LINGER: Duration = Duration::from_secs(5);

/// The targets, for the data plane.
#[derive(Debug, Default)]
pub(super) struct View {
    /// What the control plane has published last, and the same with what is known besides.
    published: Snapshot,
    all: Snapshot,
    /// Targets that the control plane does not show, and since when: it has not heard of them yet, or has dropped them.
    lingering: Vec<(BootNanos, Arc<Target>)>,
    /// Processes that have begun another program, when, and as what they were known until then.
    executed: HashMap<Pid, (BootNanos, Option<Arc<Target>>)>,
}

impl View {
    /// The target, if this very process is one.
    pub(super) fn target(&self, process: ProcessKey) -> Option<&Arc<Target>> {
        self.all.target(process)
    }

    /// Whether a process of this pid is a target.
    pub(super) fn has(&self, pid: Pid) -> bool {
        self.all.of(pid).is_some()
    }

    /// Takes over what the control plane knows now. Targets it has dropped linger for a while.
    pub(super) fn publish(&mut self, snapshot: &Snapshot, now: BootNanos) {
        let lingered = self.lingering.len();
        let is_late = |since: BootNanos| now.since(since) >= LINGER;
        self.lingering.retain(|(since, _)| !is_late(*since));
        self.executed.retain(|_, (since, _)| !is_late(*since));
        if snapshot.is_same(&self.published) && self.lingering.len() == lingered {
            return;
        }
        let gone = snapshot.gone_since(&self.published);
        self.lingering
            .extend(gone.map(|target| (now, Arc::clone(target))));
        self.published = snapshot.clone();
        self.all = snapshot.clone();
        // The latest first: a pid in use again is its new process's.
        for (_, target) in self.lingering.iter().rev() {
            if self.all.of(target.process.pid).is_none() {
                self.all.put(target);
            }
        }
    }

    /// Hears of a process as soon as its notice is off the ring, which is before the records around it are worked off:
    /// by then its parent may be known as another program.
    pub(super) fn hear(&mut self, notice: &ProcessNotice) {
        match notice.what {
            ProcessChange::Fork { parent, start_time } => {
                let process = ProcessKey {
                    pid: notice.pid,
                    start_time,
                };
                self.inherit(process, parent, notice.time);
            }
            ProcessChange::Exec => {
                let before = self.all.of(notice.pid).cloned();
                self.executed.insert(notice.pid, (notice.time, before));
            }
            ProcessChange::Exit => {}
        }
    }

    /// The child is its parent's copy.
    fn inherit(&mut self, process: ProcessKey, parent: Pid, now: BootNanos) {
        let Some(known) = self.all.of(parent).filter(|_| self.all.follows_children()) else {
            return;
        };
        let executed = self.executed.get(&parent);
        let as_before = executed.and_then(|(_, before)| before.as_ref());
        if as_before.is_some_and(|before| Arc::ptr_eq(before, known)) {
            // What is known of the parent is not of the program that has forked.
            return;
        }
        if self.all.target(process).is_none() {
            let child = Arc::new(Target {
                process,
                ..Target::clone(known)
            });
            self.all.put(&child);
            self.lingering.push((now, child));
        }
    }

    /// Takes a notice in its place among the records: those that follow are of another program, or of another process.
    pub(super) fn take(&mut self, notice: &ProcessNotice) {
        if matches!(notice.what, ProcessChange::Fork { .. }) {
            return;
        }
        let ProcessNotice { pid, time, .. } = *notice;
        let began = |it: &Target| it.process.start_time.saturating_mul(CLOCK_TICK);
        let was = |it: &Target| it.process.pid == pid && began(it) <= time.0;
        self.lingering.retain(|(_, it)| !was(it));
        if self.published.of(pid).is_none() && self.all.of(pid).is_some_and(|it| was(it)) {
            self.all.remove(pid);
        }
    }

    /// Why a process is no target.
    pub(super) fn why_unknown(&self, process: ProcessKey) -> Loss {
        if !self.all.follows_children() {
            Loss::SampleNotAskedFor
        } else if self.executed.contains_key(&process.pid) {
            Loss::SampleOfNewProgram
        } else {
            Loss::SampleOutsideTargets
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::View;
    use crate::{
        events::{ProcessChange, ProcessNotice},
        health::Loss,
        id::{Pid, ProcessKey, Service},
        targets::{Snapshot, SpansSeen, Target},
        time::{BootNanos, CLOCK_TICK, SECOND},
    };

    const PARENT: ProcessKey = key(1);
    const CHILD: ProcessKey = key(2);

    const fn key(pid: u32) -> ProcessKey {
        ProcessKey {
            pid: Pid(pid),
            start_time: pid as u64,
        }
    }

    fn target(process: ProcessKey, service: &str) -> Arc<Target> {
        Arc::new(Target {
            process,
            service: Arc::new(Service {
                name: service.to_owned(),
                ..Service::default()
            }),
            container: None,
            mappings: Arc::from([]),
            interpreter: None,
            spans: SpansSeen::NotYet,
            unread_spans: [].into(),
        })
    }

    /// What the control plane shows: these, by process and service.
    fn snapshot(follows: bool, targets: &[(ProcessKey, &str)]) -> Snapshot {
        let mut snapshot = Snapshot::new(follows);
        for (process, service) in targets {
            snapshot.put(&target(*process, service));
        }
        snapshot
    }

    fn view(follows: bool) -> View {
        let mut view = View::default();
        view.publish(&snapshot(follows, &[(PARENT, "shop")]), BootNanos(0));
        view
    }

    fn notice(process: ProcessKey, what: ProcessChange) -> ProcessNotice {
        ProcessNotice {
            time: BootNanos(process.start_time * CLOCK_TICK),
            pid: process.pid,
            what,
        }
    }

    fn fork(child: ProcessKey, parent: ProcessKey) -> ProcessNotice {
        let what = ProcessChange::Fork {
            parent: parent.pid,
            start_time: child.start_time,
        };
        notice(child, what)
    }

    fn service(view: &View, process: ProcessKey) -> Option<String> {
        Some(view.target(process)?.service.name.clone())
    }

    /// A child is its parent's service from its notice on, and so is its own child, whatever the control plane shows
    /// meanwhile; its exit ends that.
    #[test]
    fn children_are_known_at_once() {
        let (mut view, grandchild) = (view(true), key(3));
        view.hear(&fork(CHILD, PARENT));
        view.hear(&fork(grandchild, CHILD));
        view.publish(&snapshot(true, &[(PARENT, "shop")]), BootNanos(SECOND));
        for process in [CHILD, grandchild] {
            assert_eq!(service(&view, process).as_deref(), Some("shop"));
        }
        let exit = notice(CHILD, ProcessChange::Exit);
        view.hear(&exit);
        assert!(
            view.has(CHILD.pid),
            "its last records are still to be taken"
        );
        view.take(&exit);
        assert_eq!(service(&view, CHILD), None);
        assert!(view.has(grandchild.pid) && view.has(PARENT.pid));
        // Another process that has its pid by now.
        let next = ProcessKey {
            start_time: 100,
            ..CHILD
        };
        view.hear(&fork(next, PARENT));
        view.take(&exit);
        assert_eq!(service(&view, next).as_deref(), Some("shop"));
        // Its exit was never met.
        view.publish(&snapshot(true, &[(PARENT, "shop")]), BootNanos(60 * SECOND));
        assert!(!view.has(grandchild.pid));
    }

    /// What the control plane finds out of a child stands.
    #[test]
    fn what_was_looked_at_is_known_better() {
        let mut view = view(true);
        view.hear(&fork(CHILD, PARENT));
        view.publish(
            &snapshot(true, &[(PARENT, "shop"), (CHILD, "cart")]),
            BootNanos(SECOND),
        );
        assert_eq!(service(&view, CHILD).as_deref(), Some("cart"));
        // It is dropped before its last records are taken.
        view.publish(&snapshot(true, &[(PARENT, "shop")]), BootNanos(2 * SECOND));
        assert_eq!(service(&view, CHILD).as_deref(), Some("cart"));
        view.take(&notice(CHILD, ProcessChange::Exit));
        assert_eq!(service(&view, CHILD), None);
    }

    /// A program that a process has begun is not what it was forked as.
    #[test]
    fn another_program_is_not_the_parents_service() {
        let mut view = view(true);
        view.hear(&fork(CHILD, PARENT));
        let exec = notice(CHILD, ProcessChange::Exec);
        view.hear(&exec);
        assert_eq!(
            service(&view, CHILD).as_deref(),
            Some("shop"),
            "until then it is"
        );
        view.take(&exec);
        assert_eq!(service(&view, CHILD), None);
        assert_eq!(view.why_unknown(CHILD), Loss::SampleOfNewProgram);
        assert_eq!(view.why_unknown(key(9)), Loss::SampleOutsideTargets);
    }

    /// A child takes nothing over from a program that its parent no longer ran.
    #[test]
    fn children_of_another_program() {
        let mut view = view(true);
        view.hear(&notice(PARENT, ProcessChange::Exec));
        view.hear(&fork(CHILD, PARENT));
        assert_eq!(service(&view, CHILD), None);
        view.publish(&snapshot(true, &[(PARENT, "cart")]), BootNanos(SECOND));
        view.hear(&fork(key(3), PARENT));
        assert_eq!(service(&view, key(3)).as_deref(), Some("cart"));
    }

    /// Where children are not followed, their samples are not asked for.
    #[test]
    fn children_that_are_not_followed() {
        let mut view = view(false);
        view.hear(&fork(CHILD, PARENT));
        assert_eq!(service(&view, CHILD), None);
        assert_eq!(view.why_unknown(CHILD), Loss::SampleNotAskedFor);
    }
}

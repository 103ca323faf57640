//! All targets at one moment.

use std::{collections::HashMap, sync::Arc};

use super::Target;
use crate::id::{Pid, ProcessKey};

/// Parts of a snapshot. A change copies one of them, so a host with 4,096 processes costs each change 16 targets.
const PARTS: u32 = 256;

/// Some of the targets, by pid.
type Part = HashMap<Pid, Arc<Target>>;

/// What is known of all profiled processes at one moment. Cheap to clone: what two snapshots have in common they share.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// By the pid's remainder.
    parts: Arc<[Arc<Part>]>,
    targets: usize,
    /// Whether the children of targets are targets.
    follows_children: bool,
}

impl Default for Snapshot {
    fn default() -> Self {
        let empty = Arc::new(Part::new());
        Self {
            parts: (0..PARTS).map(|_| Arc::clone(&empty)).collect(),
            targets: 0,
            follows_children: false,
        }
    }
}

impl FromIterator<Arc<Target>> for Snapshot {
    fn from_iter<I: IntoIterator<Item = Arc<Target>>>(targets: I) -> Self {
        let mut snapshot = Self::default();
        for target in targets {
            snapshot.put(&target);
        }
        snapshot
    }
}

impl Snapshot {
    /// One of nothing yet; whether the children of targets are targets.
    pub fn new(follows_children: bool) -> Self {
        Self {
            follows_children,
            ..Self::default()
        }
    }

    /// Whether the children of targets are targets.
    pub fn follows_children(&self) -> bool {
        self.follows_children
    }

    /// The target, if this very process is one.
    pub fn target(&self, process: ProcessKey) -> Option<&Arc<Target>> {
        self.of(process.pid)
            .filter(|target| target.process == process)
    }

    /// Whether a process of this pid is a target.
    pub fn has(&self, pid: Pid) -> bool {
        self.of(pid).is_some()
    }

    /// Every target, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Target>> {
        self.parts.iter().flat_map(|part| part.values())
    }

    /// How many targets there are.
    pub fn len(&self) -> usize {
        self.targets
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.targets == 0
    }

    /// Whether it is known to hold the same as another.
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.parts, &other.parts)
    }

    /// Puts a target in the place of whatever had its pid; returns whether that changes anything.
    pub fn put(&mut self, target: &Arc<Target>) -> bool {
        let pid = target.process.pid;
        if self.of(pid).is_some_and(|it| Arc::ptr_eq(it, target)) {
            return false;
        }
        let Some(part) = self.part(pid) else {
            return false;
        };
        let is_new = part.insert(pid, Arc::clone(target)).is_none();
        self.targets += usize::from(is_new);
        true
    }

    /// Removes the target of a pid; returns whether there was one.
    pub fn remove(&mut self, pid: Pid) -> bool {
        // Looked for first: to remove nothing copies nothing.
        let was_there = self.has(pid) && self.part(pid).and_then(|it| it.remove(&pid)).is_some();
        self.targets -= usize::from(was_there);
        was_there
    }

    /// The targets of an earlier snapshot that are none any more.
    pub fn gone_since<'a>(&'a self, earlier: &'a Self) -> impl Iterator<Item = &'a Arc<Target>> {
        let parts = earlier.parts.iter().zip(self.parts.iter());
        parts
            .filter(|(earlier, now)| !Arc::ptr_eq(earlier, now))
            .flat_map(|(earlier, _)| earlier.values())
            .filter(|target| self.target(target.process).is_none())
    }

    /// The target that has this pid now.
    pub fn of(&self, pid: Pid) -> Option<&Arc<Target>> {
        self.parts.get(index(pid))?.get(&pid)
    }

    /// The part of a pid, to change it: copied if another snapshot shares it.
    fn part(&mut self, pid: Pid) -> Option<&mut Part> {
        let part = Arc::make_mut(&mut self.parts).get_mut(index(pid))?;
        Some(Arc::make_mut(part))
    }
}

/// Which part a pid is in. Pids that follow one another are in different ones.
fn index(pid: Pid) -> usize {
    usize::try_from(pid.0 % PARTS).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{PARTS, Snapshot};
    use crate::{
        id::{Pid, ProcessKey},
        targets::{SpansSeen, Target},
    };

    fn target(pid: u32, start_time: u64) -> Arc<Target> {
        Arc::new(Target {
            process: ProcessKey {
                pid: Pid(pid),
                start_time,
            },
            service: Arc::default(),
            container: None,
            mappings: Arc::from([]),
            interpreter: None,
            spans: SpansSeen::NotYet,
            unread_spans: [].into(),
        })
    }

    /// A snapshot stays as it was, whatever becomes of its clones; what has gone since is found, and a pid in use again
    /// is another process.
    #[test]
    fn snapshots_differ_by_what_has_changed() {
        let before: Snapshot = (0..1_000).map(|pid| target(pid, 1)).collect();
        let mut now = before.clone();
        assert!(now.is_same(&before));
        assert!(!now.put(before.target(target(7, 1).process).unwrap()));
        assert!(!now.remove(Pid(5_000)) && now.is_same(&before));
        assert!(now.remove(Pid(3)) && !now.remove(Pid(3)));
        assert!(now.put(&target(PARTS, 2)) && now.put(&target(2_000, 1)));
        assert_eq!((before.len(), now.len()), (1_000, 1_000));
        assert!(before.has(Pid(3)) && !now.has(Pid(3)) && now.has(Pid(2_000)));
        let gone = now.gone_since(&before).map(|it| it.process.pid.0);
        assert_eq!(gone.collect::<Vec<_>>(), [PARTS, 3]);
        assert_eq!(before.gone_since(&now).count(), 2);
    }

    /// A change copies one part, and shares all others.
    #[test]
    fn a_change_copies_one_part() {
        let before: Snapshot = (0..10_000).map(|pid| target(pid, 1)).collect();
        let mut now = before.clone();
        now.remove(Pid(1));
        let parts = before.parts.iter().zip(now.parts.iter());
        assert_eq!(
            parts
                .filter(|(one, other)| !Arc::ptr_eq(one, other))
                .count(),
            1
        );
    }
}

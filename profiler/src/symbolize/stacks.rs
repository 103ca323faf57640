//! Stacks that have names already: most samples show a stack that was seen a moment ago.

use std::{collections::HashMap, num::NonZeroUsize, sync::Arc};

use lru::LruCache;

use super::Frame;
use crate::{
    events::Stack,
    health::Loss,
    id::{Pid, ProcessKey},
    targets::Target,
};

/// Stacks kept ready, over all processes: about a kilobyte each.
const MAX_STACKS: usize = 4_096;

/// A stack of one process, before it is named.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) process: ProcessKey,
    pub(super) stack: Stack,
}

/// A stack with its names.
#[derive(Clone, Debug)]
pub(super) struct Named {
    pub(super) frames: Arc<[Arc<Frame>]>,
    /// What its frames lack; counted for each sample that shows them.
    pub(super) flaws: Arc<[Loss]>,
}

/// Named stacks by the stacks before naming.
#[derive(Debug)]
pub(super) struct Stacks {
    ready: LruCache<Key, (Arc<Target>, Named)>,
    /// Stacks of each process that has any.
    processes: HashMap<Pid, usize>,
}

impl Default for Stacks {
    fn default() -> Self {
        let most = NonZeroUsize::new(MAX_STACKS).unwrap_or(NonZeroUsize::MIN);
        Self {
            ready: LruCache::new(most),
            processes: HashMap::new(),
        }
    }
}

impl Stacks {
    /// A stack that was named while the process's mappings were the same as now.
    pub(super) fn get(&mut self, key: &Key, target: &Arc<Target>) -> Option<Named> {
        let (of, named) = self.ready.get(key)?;
        Arc::ptr_eq(of, target).then(|| named.clone())
    }

    /// Keeps a stack, unless it lacks names that may still come.
    pub(super) fn put(&mut self, key: Key, target: &Arc<Target>, named: &Named) {
        let may_come = |loss: &Loss| {
            matches!(
                loss,
                Loss::CodeUnknown
                    | Loss::CodeStale
                    | Loss::NativeNoMapping
                    | Loss::NativeUnreadable
                    | Loss::NativeLate
                    | Loss::NativeNotAwaited
            )
        };
        if !named.flaws.iter().any(may_come) {
            let entry = (Arc::clone(target), named.clone());
            *self.processes.entry(key.process.pid).or_default() += 1;
            if let Some((gone, _)) = self.ready.push(key, entry) {
                self.is_gone(gone.process.pid);
            }
        }
    }

    fn is_gone(&mut self, pid: Pid) {
        if let Some(stacks) = self.processes.get_mut(&pid) {
            *stacks -= 1;
            if *stacks == 0 {
                self.processes.remove(&pid);
            }
        }
    }

    /// Forgets a process. Costs nothing if none of its stacks is kept.
    pub(super) fn forget(&mut self, pid: Pid) {
        if self.processes.remove(&pid).is_none() {
            return;
        }
        let of_it = |key: &&Key| key.process.pid == pid;
        let gone: Vec<Key> = self
            .ready
            .iter()
            .map(|(key, _)| key)
            .filter(of_it)
            .cloned()
            .collect();
        for key in gone {
            self.ready.pop(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use profiler_common::outcome::Outcome;

    use super::{Key, Named, Stacks};
    use crate::{
        events::Stack,
        health::Loss,
        id::{Pid, ProcessKey, Service},
        targets::{SpansSeen, Target},
    };

    const PROCESS: ProcessKey = ProcessKey {
        pid: Pid(10),
        start_time: 1,
    };

    fn key(address: u64) -> Key {
        Key {
            process: PROCESS,
            stack: Stack {
                kernel: vec![],
                native: vec![address],
                native_outcome: Outcome::Complete,
                python: vec![],
                python_gap: 0,
                python_outcome: Outcome::NotPython,
            },
        }
    }

    fn target() -> Arc<Target> {
        Arc::new(Target {
            process: PROCESS,
            service: Arc::new(Service {
                name: "shop".to_owned(),
                namespace: String::new(),
                ..Service::default()
            }),
            container: None,
            mappings: Arc::from([]),
            interpreter: None,
            spans: SpansSeen::Never,
            unread_spans: [].into(),
        })
    }

    fn named(flaws: &[Loss]) -> Named {
        Named {
            frames: Arc::from([]),
            flaws: flaws.into(),
        }
    }

    /// A stack is kept if what it lacks will never come; a stack that lacks names that may still come is not kept.
    #[test]
    fn what_may_come_is_asked_for_again() {
        let (mut stacks, target) = (Stacks::default(), target());
        stacks.put(key(1), &target, &named(&[Loss::LineCut]));
        let kept = stacks.get(&key(1), &target).map(|named| named.flaws);
        assert_eq!(kept.as_deref(), Some([Loss::LineCut].as_slice()));
        for loss in [
            Loss::CodeUnknown,
            Loss::CodeStale,
            Loss::NativeNoMapping,
            Loss::NativeUnreadable,
            Loss::NativeLate,
            Loss::NativeNotAwaited,
        ] {
            stacks.put(key(2), &target, &named(&[Loss::LineCut, loss]));
            assert!(stacks.get(&key(2), &target).is_none(), "{loss:?}");
        }
    }

    /// No stacks are kept of a process that has changed, exited or run another program.
    #[test]
    fn stacks_go_with_their_process() {
        let (mut stacks, before) = (Stacks::default(), target());
        stacks.put(key(1), &before, &named(&[]));
        assert!(stacks.get(&key(1), &target()).is_none());
        stacks.forget(Pid(11));
        assert!(stacks.get(&key(1), &before).is_some());
        stacks.forget(PROCESS.pid);
        assert!(stacks.get(&key(1), &before).is_none());
    }
}

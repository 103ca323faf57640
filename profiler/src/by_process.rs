//! A cache of things of processes that forgets one process without looking at the others'.
//!
//! The kernel reports the exit of every process of the host, most of which were never sampled.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    num::NonZeroUsize,
};

use lru::LruCache;

use crate::id::Pid;

/// Things by process and key. If there are too many, the least recently used one is dropped.
#[derive(Debug)]
pub struct ByProcess<Key: Eq + Hash, Value> {
    entries: LruCache<(Pid, Key), Value>,
    /// The keys of each process that has any.
    keys: HashMap<Pid, HashSet<Key>>,
}

impl<Key: Copy + Eq + Hash, Value> ByProcess<Key, Value> {
    /// An empty one that holds at most `most` things.
    pub fn new(most: NonZeroUsize) -> Self {
        Self {
            entries: LruCache::new(most),
            keys: HashMap::new(),
        }
    }

    /// What is kept, which is used now.
    pub fn get(&mut self, pid: Pid, key: Key) -> Option<&Value> {
        self.entries.get(&(pid, key))
    }

    /// The same, to change it.
    pub fn get_mut(&mut self, pid: Pid, key: Key) -> Option<&mut Value> {
        self.entries.get_mut(&(pid, key))
    }

    /// Whether it is kept.
    pub fn contains(&self, pid: Pid, key: Key) -> bool {
        self.entries.contains(&(pid, key))
    }

    /// Keeps something, in the place of what was kept under its key; another thing that had to go for it.
    pub fn put(&mut self, pid: Pid, key: Key, value: Value) -> Option<Value> {
        self.keys.entry(pid).or_default().insert(key);
        let (gone, value) = self.entries.push((pid, key), value)?;
        if gone == (pid, key) {
            return None;
        }
        self.forget_key(gone.0, gone.1);
        Some(value)
    }

    /// Forgets one thing.
    pub fn pop(&mut self, pid: Pid, key: Key) {
        if self.entries.pop(&(pid, key)).is_some() {
            self.forget_key(pid, key);
        }
    }

    /// Forgets a process; whether anything was kept of it. Costs by what that is.
    pub fn forget(&mut self, pid: Pid) -> bool {
        let Some(keys) = self.keys.remove(&pid) else {
            return false;
        };
        for key in keys {
            self.entries.pop(&(pid, key));
        }
        true
    }

    fn forget_key(&mut self, pid: Pid, key: Key) {
        if let Some(keys) = self.keys.get_mut(&pid) {
            keys.remove(&key);
            if keys.is_empty() {
                self.keys.remove(&pid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::ByProcess;
    use crate::id::Pid;

    fn kept(cache: &ByProcess<u32, char>) -> Vec<(u32, u32)> {
        let places = (1..4).flat_map(|pid| (1..4).map(move |key| (pid, key)));
        places
            .filter(|&(pid, key)| cache.contains(Pid(pid), key))
            .collect()
    }

    /// A process takes what is its own with it, and nothing else; of one that is not known nothing is looked at.
    #[test]
    fn processes_are_forgotten() {
        let mut cache = ByProcess::new(NonZeroUsize::new(8).unwrap());
        for (pid, key) in [(1, 1), (1, 2), (2, 1)] {
            assert_eq!(cache.put(Pid(pid), key, 'a'), None);
        }
        assert!(!cache.forget(Pid(3)));
        assert_eq!(kept(&cache), [(1, 1), (1, 2), (2, 1)]);
        assert!(cache.forget(Pid(1)));
        assert!(!cache.forget(Pid(1)));
        assert_eq!(kept(&cache), [(2, 1)]);
        cache.pop(Pid(2), 1);
        assert!(!cache.forget(Pid(2)) && cache.keys.is_empty());
    }

    /// What goes for want of room is told, and is no key of its process any more.
    #[test]
    fn least_recently_used() {
        let mut cache = ByProcess::new(NonZeroUsize::new(2).unwrap());
        assert_eq!(cache.put(Pid(1), 1, 'a'), None);
        assert_eq!(cache.put(Pid(2), 2, 'b'), None);
        assert_eq!(cache.put(Pid(1), 1, 'c'), None);
        assert_eq!(cache.put(Pid(3), 3, 'd'), Some('b'));
        assert_eq!(kept(&cache), [(1, 1), (3, 3)]);
        assert!(!cache.forget(Pid(2)));
        assert_eq!(cache.get(Pid(1), 1), Some(&'c'));
    }
}

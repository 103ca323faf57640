//! What the threads of a session have in common, and tell one another.

use std::{
    collections::HashSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64},
    },
};

use crate::{
    health::{Gauge, Health},
    id::Pid,
    pipeline::Notice,
    targets::{Snapshot, look::looks::Look},
};

/// What the threads of a session have in common.
pub(super) struct Shared {
    /// Whether the data plane is to stop, once the ring is empty.
    pub(super) stop: AtomicBool,
    /// When the session was told to stop, in boot nanoseconds: the last window ends there.
    pub(super) stopped: AtomicU64,
    snapshot: Mutex<Snapshot>,
    /// Processes that samples were taken of, as the data plane tells the control plane.
    sampled: Mutex<HashSet<Pid>>,
    pub(super) health: Health,
}

impl Shared {
    pub(super) fn new(health: Health) -> Self {
        Self {
            stop: AtomicBool::new(false),
            stopped: AtomicU64::new(0),
            snapshot: Mutex::new(Snapshot::default()),
            sampled: Mutex::new(HashSet::new()),
            health,
        }
    }

    pub(super) fn sampled(&self) -> MutexGuard<'_, HashSet<Pid>> {
        self.sampled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn snapshot(&self) -> Snapshot {
        self.snapshot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn publish(&self, snapshot: Snapshot) {
        let processes = u64::try_from(snapshot.len()).unwrap_or(u64::MAX);
        self.health.set(Gauge::Processes, processes);
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }
}

/// What the control plane is told.
pub(super) enum ControlMessage {
    Notice(Notice),
    Look(Look),
    Stop,
}

//! Where profiles go, and what all destinations have in common.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
    mpsc as blocking,
};

use tokio::sync::watch;

use super::Error;
use crate::{health::Health, profile::Profile, time::BootNanos};

/// A place that windows go to: a server, or a file. It projects the labels of a profile, and splits and encodes it, in
/// its own way.
pub trait Destination: Send {
    /// What it is called in messages.
    fn name(&self) -> String;

    /// Takes a window, which other destinations read, too: to keep a part of it for longer, clone the [`Arc`]. Takes
    /// the CPU that encoding takes, and may wait for a disk or for the task that sends: the threads that sample never
    /// call it. The destination counts by itself what it loses.
    fn take(&mut self, window: &Arc<[Profile]>) -> Result<(), Error>;
}

/// What a destination shares with its exporter.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Where losses are counted.
    pub health: Health,
    /// Profiles that are not yet stored or lost.
    pub waiting: Waiting,
    /// When the agent ends.
    pub ending: Ending,
}

/// A number of profiles that are on their way.
#[derive(Clone, Debug, Default)]
pub struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    /// Adds this many.
    pub fn add(&self, profiles: usize) {
        self.0.fetch_add(profiles, Ordering::Relaxed);
    }

    /// Subtracts this many.
    pub fn subtract(&self, profiles: usize) {
        self.0.fetch_sub(profiles, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// How the threads and tasks of a destination learn that the agent ends. As long as one of them holds this, the
/// exporter waits for it, until the deadline.
#[derive(Clone, Debug)]
pub struct Ending {
    deadline: watch::Receiver<Option<BootNanos>>,
    /// Dropped with the last clone, which the exporter sees.
    _runs: blocking::Sender<()>,
}

impl Ending {
    /// The two ends: one that announces the end, and one for a destination to hold.
    pub(super) fn new() -> (End, Self) {
        let (tell, deadline) = watch::channel(None);
        let (runs, ended) = blocking::channel();
        let ending = Self {
            deadline,
            _runs: runs,
        };
        (End { tell, ended }, ending)
    }

    /// Waits until the agent ends; returns when everything must be done. That is now if the exporter has gone, which
    /// then waits for nothing.
    pub async fn deadline(&mut self) -> BootNanos {
        let told = self.deadline.wait_for(Option::is_some).await;
        let deadline = told.ok().and_then(|deadline| *deadline);
        deadline.unwrap_or_else(BootNanos::now)
    }

    /// Whether the exporter has gone without an end.
    pub(super) fn is_abandoned(&self) -> bool {
        self.deadline.has_changed().is_err()
    }
}

/// Ends what holds an [`Ending`].
#[derive(Debug)]
pub(super) struct End {
    tell: watch::Sender<Option<BootNanos>>,
    ended: blocking::Receiver<()>,
}

impl End {
    /// Announces the time by which everything must be done.
    pub(super) fn at(&self, deadline: BootNanos) {
        // Perhaps no receiver is left.
        let _ = self.tell.send(Some(deadline));
    }

    /// Waits until no [`Ending`] is left, but no longer than this.
    pub(super) fn wait(&self, most: std::time::Duration) {
        // Nothing is ever sent: the channel ends when all its senders are dropped.
        let _ = self.ended.recv_timeout(most);
    }
}

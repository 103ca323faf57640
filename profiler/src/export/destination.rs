//! Where profiles go, and what all places have in common.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
    mpsc as blocking,
};

use tokio::sync::watch;

use super::Error;
use crate::{health::Health, profile::Profile, time::BootNanos};

/// A place that windows go to: a server, or a file. It projects the labels of a profile, splits and encodes it in
/// its own way.
pub trait Destination: Send {
    /// What it is called in messages.
    fn name(&self) -> String;

    /// Takes a window, which others read, too: what is to be kept of it for longer is a clone of the
    /// [`Arc`]. Takes the CPU that encoding takes, and may wait for a disk or for what sends: nobody that samples
    /// calls it. What is lost it counts by itself.
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
    /// So many more.
    pub fn add(&self, profiles: usize) {
        self.0.fetch_add(profiles, Ordering::Relaxed);
    }

    /// So many less.
    pub fn subtract(&self, profiles: usize) {
        self.0.fetch_sub(profiles, Ordering::Relaxed);
    }

    /// How many there are.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// How what runs for a destination learns that the agent ends. As long as it lives, the exporter waits for it, until
/// the deadline.
#[derive(Clone, Debug)]
pub struct Ending {
    deadline: watch::Receiver<Option<BootNanos>>,
    /// Dropped with the last clone, which the exporter sees.
    _runs: blocking::Sender<()>,
}

impl Ending {
    /// What ends others, and what they hold.
    pub(super) fn new() -> (End, Self) {
        let (tell, deadline) = watch::channel(None);
        let (runs, ended) = blocking::channel();
        let ending = Self {
            deadline,
            _runs: runs,
        };
        (End { tell, ended }, ending)
    }

    /// Waits until the agent ends: by when all must be through. That is now if the exporter has gone, and nobody
    /// waits.
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
    /// All must be through by then.
    pub(super) fn at(&self, deadline: BootNanos) {
        // Nobody may be there any more.
        let _ = self.tell.send(Some(deadline));
    }

    /// Waits until all are through, but no longer than for a time.
    pub(super) fn wait(&self, most: std::time::Duration) {
        // Nobody sends: it ends by their being gone.
        let _ = self.ended.recv_timeout(most);
    }
}

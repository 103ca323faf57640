//! Windows in, and out to every destination: a thread that encodes for one after the other. The submitting thread never
//! waits for any of them.

use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};

use super::{
    Destination, Error,
    destination::{End, Ending, Shared, Waiting},
};
use crate::{
    health::{Health, Loss},
    id::Service,
    profile::Profile,
    rights::{Thread, keep_for},
    time::BootNanos,
};

/// Windows that may wait to be encoded.
const MAX_WINDOWS: usize = 4;
/// How often the thread checks whether the exporter still exists: a [`Sink`] may outlive it.
const LOOK: Duration = Duration::from_secs(1);

/// Sends profiles to destinations.
#[derive(Debug)]
pub struct Exporter {
    sink: Sink,
    end: End,
}

/// Takes profiles for an exporter.
#[derive(Clone, Debug)]
pub struct Sink {
    windows: SyncSender<Arc<[Profile]>>,
    waiting: Waiting,
    health: Health,
}

impl Exporter {
    /// Opens the destinations and starts the thread. Refuses what a destination refuses.
    pub fn start(
        health: &Health,
        open: impl FnOnce(&Shared) -> Result<Vec<Box<dyn Destination>>, Error>,
    ) -> Result<Self, Error> {
        let (end, ending) = Ending::new();
        let shared = Shared {
            health: health.clone(),
            waiting: Waiting::default(),
            ending,
        };
        let destinations = open(&shared)?;
        let sink = Sink {
            waiting: shared.waiting.clone(),
            health: health.clone(),
            windows: start_thread(destinations, shared)?,
        };
        Ok(Self { sink, end })
    }

    /// A handle that submits profiles, from any thread. All must be dropped before the exporter is drained.
    pub fn sink(&self) -> Sink {
        self.sink.clone()
    }

    /// Hands the profiles of a window over: see [`Sink::submit`].
    pub fn submit(&self, profiles: Vec<Profile>) {
        self.sink.submit(profiles);
    }

    /// How many profiles wait or are being sent.
    pub fn waiting(&self) -> usize {
        self.sink.waiting.get()
    }

    /// Sends what waits, each at once and again as often as time allows, for at most `time`; then the rest is counted
    /// as dropped. Not to be called on the runtime.
    pub fn drain(self, time: Duration) {
        let Self { sink, end } = self;
        // Without a sender the thread ends when it has encoded what waits.
        drop(sink);
        end.at(BootNanos::now().after(time));
        // All destinations keep the deadline; the extra second is for the news of their end.
        end.wait(time + Duration::from_secs(1));
    }
}

/// Starts the thread that encodes, with the channel that it takes windows from.
fn start_thread(
    mut destinations: Vec<Box<dyn Destination>>,
    shared: Shared,
) -> Result<SyncSender<Arc<[Profile]>>, Error> {
    let (windows, inbox) = mpsc::sync_channel(MAX_WINDOWS);
    thread::Builder::new()
        .name("spanprof-encode".to_owned())
        .spawn(move || {
            keep_for(Thread::Plain);
            run(&inbox, &mut destinations, &shared);
        })
        .map_err(Error::Thread)?;
    Ok(windows)
}

/// Has every destination take the windows as they come, until no submitter is left.
fn run(
    windows: &Receiver<Arc<[Profile]>>,
    destinations: &mut [Box<dyn Destination>],
    shared: &Shared,
) {
    loop {
        let window = match windows.recv_timeout(LOOK) {
            Ok(window) => window,
            Err(RecvTimeoutError::Timeout) if !shared.ending.is_abandoned() => continue,
            Err(_) => return,
        };
        for destination in &mut *destinations {
            if let Err(error) = destination.take(&window) {
                let error = anyhow::Error::from(error);
                tracing::error!(destination = destination.name(), "{error:#}");
            }
        }
        shared.waiting.subtract(window.len());
    }
}

impl Sink {
    /// Hands the profiles of a window over, which all destinations read. Never waits: if the thread is far behind,
    /// they are dropped and counted.
    pub fn submit(&self, profiles: Vec<Profile>) {
        let number = profiles.len();
        self.waiting.add(number);
        let Err(full) = self.windows.try_send(profiles.into()) else {
            return;
        };
        self.waiting.subtract(number);
        let (profiles, loss, reason) = match full {
            TrySendError::Full(profiles) => {
                (profiles, Loss::EncoderBehind, "encoding does not keep up")
            }
            TrySendError::Disconnected(profiles) => {
                (profiles, Loss::EncoderEnded, "the agent ends")
            }
        };
        for profile in &*profiles {
            self.health.count(loss);
            dropped(&profile.service, reason);
        }
    }
}

/// Logs a lost profile at once, with service and reason.
pub(super) fn dropped(service: &Service, reason: &str) {
    tracing::error!(service = service.name, reason, "dropped a profile");
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, mpsc},
        time::Duration,
    };

    use super::{Destination, Error, Exporter, MAX_WINDOWS};
    use crate::{
        health::{Health, Loss},
        join::Attribution,
        profile::{
            Profile,
            samples::{profiles, sample},
        },
        time::monotonic_now,
    };

    /// Passes on what it takes, as soon as the test lets it.
    struct Slow {
        may_go: mpsc::Receiver<()>,
        taken: mpsc::Sender<Arc<[Profile]>>,
    }

    impl Destination for Slow {
        fn name(&self) -> String {
            "slow".to_owned()
        }

        fn take(&mut self, window: &Arc<[Profile]>) -> Result<(), Error> {
            // If the test has dropped the sender, it goes on.
            let _ = self.may_go.recv();
            self.taken.send(Arc::clone(window)).unwrap();
            Ok(())
        }
    }

    type Taken = mpsc::Receiver<Arc<[Profile]>>;

    /// A destination that takes a window once the test lets it, or has dropped the sender.
    fn slow() -> (Box<dyn Destination>, mpsc::Sender<()>, Taken) {
        let (go, may_go) = mpsc::channel();
        let (taken, inbox) = mpsc::channel();
        (Box::new(Slow { may_go, taken }), go, inbox)
    }

    fn window() -> Vec<Profile> {
        let samples = [sample(&["work"], Attribution::NoSpan)];
        profiles(&samples, 10, &Health::default())
    }

    /// Submitting never waits, however slow a destination is: windows that do not fit are dropped and counted. All
    /// destinations read one and the same window.
    #[test]
    fn windows_are_shared_and_bounded() {
        let health = Health::default();
        let (first, go, of_first) = slow();
        let (second, go_second, of_second) = slow();
        // The second one is never held up.
        drop(go_second);
        let exporter = Exporter::start(&health, |_| Ok(vec![first, second])).unwrap();
        let start = monotonic_now();
        for _ in 0..20 {
            exporter.submit(window());
        }
        assert!(start.elapsed() < Duration::from_secs(60));
        let dropped = health.get(Loss::EncoderBehind);
        // Perhaps the destination is taking one; the others wait.
        let kept = 20 - usize::try_from(dropped).unwrap();
        assert!((MAX_WINDOWS..=MAX_WINDOWS + 1).contains(&kept), "{kept}");
        assert_eq!(exporter.waiting(), kept);
        drop(go);
        exporter.drain(Duration::from_secs(10));
        let taken: Vec<_> = of_first.try_iter().zip(of_second.try_iter()).collect();
        assert_eq!(taken.len(), kept);
        assert!(taken.iter().all(|(one, other)| Arc::ptr_eq(one, other)));
    }

    /// A destination that hangs does not hold up the end.
    #[test]
    fn ends_in_time() {
        let (hangs, _go, _taken) = slow();
        let exporter = Exporter::start(&Health::default(), |_| Ok(vec![hangs])).unwrap();
        exporter.submit(window());
        let start = monotonic_now();
        exporter.drain(Duration::from_millis(100));
        assert!(start.elapsed() < Duration::from_secs(60));
    }

    /// What a destination refuses is refused at the start.
    #[test]
    fn refusals_are_passed_on() {
        let refused = Exporter::start(&Health::default(), |_| Err(Error::UrlWithUser));
        assert!(matches!(refused, Err(Error::UrlWithUser)));
    }
}

//! The thread that sends: profiles in, pushes out, one at a time. Whoever submits never waits for it.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use super::{
    Error,
    pyroscope::{Client, Pyroscope},
    queue::{Bounds, Item, Queue},
    retry::{Outcome, Policy},
};
use crate::{
    health::{Health, Loss},
    id::Service,
    profile::{
        Profile,
        split::{Limits, split},
    },
    time::{UnixNanos, monotonic_now},
};

/// How profiles are sent.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to.
    pub server: Pyroscope,
    /// When to try again.
    pub retry: Policy,
    /// What the server takes at once.
    pub limits: Limits,
    /// Profiles that may wait.
    pub queue_profiles: usize,
    /// Bytes that may wait.
    pub queue_bytes: usize,
}

impl Settings {
    /// The defaults towards a server.
    pub fn new(server: Pyroscope) -> Self {
        Self {
            server,
            retry: Policy::default(),
            limits: Limits::PYROSCOPE,
            queue_profiles: 512,
            queue_bytes: 32 * 1024 * 1024,
        }
    }
}

/// Sends profiles to a Pyroscope from a thread of its own.
#[derive(Debug)]
pub struct Exporter {
    shared: Arc<Shared>,
    health: Health,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    queue: Queue<Content>,
    /// Whether the thread holds an item.
    busy: bool,
    /// When to stop, once that is asked for.
    deadline: Option<Instant>,
    /// Whether the thread is through.
    done: bool,
}

#[derive(Debug)]
enum Content {
    /// Not yet encoded: that costs more than the submitting thread should pay.
    Profile(Box<Profile>),
    /// The body of one push.
    Body(Arc<Service>, Vec<u8>),
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves the queue whole: every change to it is one call.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'state>(
        &self,
        state: MutexGuard<'state, State>,
        until: Option<Instant>,
    ) -> MutexGuard<'state, State> {
        let longest = Duration::from_secs(60);
        let time = until.map_or(longest, |until| {
            until.saturating_duration_since(monotonic_now())
        });
        self.changed
            .wait_timeout(state, time)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}

impl Exporter {
    /// Starts the thread. Refuses an address or tags no server would take.
    pub fn start(settings: Settings, health: Health) -> Result<Self, Error> {
        settings.server.check()?;
        let bounds = Bounds {
            number: settings.queue_profiles,
            bytes: settings.queue_bytes,
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                queue: Queue::new(bounds, health.clone()),
                busy: false,
                deadline: None,
                done: false,
            }),
            changed: Condvar::new(),
        });
        let worker = Worker {
            shared: Arc::clone(&shared),
            client: Client::new(&settings.server),
            settings,
            health: health.clone(),
        };
        thread::Builder::new()
            .name("spanprof-export".to_owned())
            .spawn(move || worker.run())
            .map_err(Error::Thread)?;
        Ok(Self { shared, health })
    }

    /// Hands a profile over. Never waits for the server: over the bounds the oldest profile is dropped.
    pub fn submit(&self, profile: Profile) {
        let item = Item {
            bytes: size(&profile),
            start: profile.window.start,
            content: Content::Profile(Box::new(profile)),
            attempts: 0,
            ready: monotonic_now(),
        };
        self.shared.state().queue.push(item);
        self.shared.changed.notify_all();
    }

    /// How many profiles wait or are being sent.
    pub fn waiting(&self) -> usize {
        let state = self.shared.state();
        state.queue.len() + usize::from(state.busy)
    }

    /// Sends what waits, each at once and again as often as time allows, for at most `time`; what is
    /// left then is counted as given up.
    pub fn drain(self, time: Duration) {
        let now = monotonic_now();
        let deadline = now + time;
        let mut state = self.shared.state();
        state.deadline = Some(deadline);
        state.queue.hurry(now);
        self.shared.changed.notify_all();
        while !state.done && monotonic_now() < deadline {
            state = self.shared.wait(state, Some(deadline));
        }
        let left = state.queue.len() + usize::from(state.busy);
        state.queue.clear();
        drop(state);
        self.health
            .add(Loss::ProfileGivenUp, u64::try_from(left).unwrap_or(0));
    }
}

impl Drop for Exporter {
    /// Without a drain the thread ends after the push at hand.
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.deadline.get_or_insert_with(monotonic_now);
        self.shared.changed.notify_all();
    }
}

struct Worker {
    shared: Arc<Shared>,
    settings: Settings,
    client: Client,
    health: Health,
}

impl Worker {
    fn run(self) {
        while let Some((item, most)) = self.next() {
            let again = self.handle(item, most);
            let mut state = self.shared.state();
            state.busy = false;
            // Past the deadline the drain has already counted this item.
            if state.deadline.is_none_or(|at| monotonic_now() < at) {
                for item in again {
                    state.queue.push(item);
                }
            }
        }
        self.shared.state().done = true;
        self.shared.changed.notify_all();
    }

    /// The next item that is ready, and how long it may take; `None` when it is time to stop.
    fn next(&self) -> Option<(Item<Content>, Duration)> {
        let mut state = self.shared.state();
        loop {
            let now = monotonic_now();
            let deadline = state.deadline;
            let over = deadline.is_some_and(|at| now >= at || state.queue.len() == 0);
            if over {
                return None;
            }
            if let Some(item) = state.queue.take(now) {
                state.busy = true;
                let most = deadline.map_or(Duration::MAX, |at| at - now);
                return Some((item, most));
            }
            let until = [state.queue.next_ready(), deadline];
            let until = until.into_iter().flatten().min();
            state = self.shared.wait(state, until);
        }
    }

    /// Encodes or sends an item. Returns what is to be queued in its place.
    fn handle(&self, mut item: Item<Content>, most: Duration) -> Vec<Item<Content>> {
        let age = UnixNanos::now().0.saturating_sub(item.start.0);
        if self.settings.retry.too_old(Duration::from_nanos(age)) {
            self.health.count(Loss::ProfileTooOld);
            return Vec::new();
        }
        let (service, body) = match &item.content {
            Content::Profile(profile) => return self.encode(profile, item.ready),
            Content::Body(service, body) => (service, body),
        };
        let service = service.name.as_str();
        let after = match self.client.push(body, most) {
            Outcome::Stored => return Vec::new(),
            Outcome::Refused { reason } => {
                tracing::error!(service, reason, "Pyroscope refused a profile");
                self.health.count(Loss::ProfileRefused);
                return Vec::new();
            }
            Outcome::Later { after, reason } => {
                tracing::warn!(service, reason, "a profile could not be sent yet");
                after
            }
            Outcome::Unknown { reason } => {
                tracing::warn!(service, reason, "the answer to a profile was lost");
                if item.attempts + 1 < self.settings.retry.attempts {
                    self.health.count(Loss::ProfileMaybeTwice);
                }
                None
            }
        };
        item.attempts += 1;
        let retry = &self.settings.retry;
        let Some(wait) = retry.wait(item.attempts, after, fastrand::f64()) else {
            tracing::error!(service, "a profile was given up after the last retry");
            self.health.count(Loss::ProfileGivenUp);
            return Vec::new();
        };
        item.ready = monotonic_now() + wait;
        vec![item]
    }

    fn encode(&self, profile: &Profile, ready: Instant) -> Vec<Item<Content>> {
        let parts = split(profile, self.settings.limits, &self.health);
        let bodies = parts.into_iter().filter_map(|pprof| {
            let body = self.settings.server.body(&profile.service, pprof);
            // Compressing into memory does not fail; if it ever does, it is counted like a refusal.
            body.inspect_err(|error| {
                tracing::error!(%error, "a profile could not be compressed");
                self.health.count(Loss::ProfileRefused);
            })
            .ok()
        });
        bodies
            .map(|body| Item {
                bytes: body.len(),
                content: Content::Body(Arc::clone(&profile.service), body),
                start: profile.window.start,
                attempts: 0,
                ready,
            })
            .collect()
    }
}

/// Memory a profile holds, roughly: its rows and stacks; frames are shared with the symbol caches.
fn size(profile: &Profile) -> usize {
    let rows = profile.rows.iter();
    rows.map(|row| size_of_val(row) + size_of_val(&*row.stack))
        .sum()
}

//! The task that sends: what comes in waits in the queue, goes out at the current pace, and comes back if the server
//! does not have it. It is long because all that changes the state of a push is in one place, in the order of its life.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    task::{self, JoinError, JoinSet},
    time::{Instant, sleep_until},
};

use super::{
    Settings,
    backlog::{Backlog, Line},
    client::{self, Client},
    queue::{Batch, Encoded, Item, Next, Queue, Room},
};
use crate::{
    export::{
        as_count,
        destination::{Ending, Shared, Waiting},
        exporter::dropped,
        pace::Pace,
        retry::Outcome,
    },
    health::{Gauge, Health, Loss},
    id::Service,
    time::{BootNanos, monotonic_now},
};

/// How often the task wakes even if nothing happens: to drop what grows too old, and to log.
const LOOK: Duration = Duration::from_secs(1);
/// The same while nothing could grow old or be logged: each time wakes a thread.
const REST: Duration = Duration::from_mins(1);

/// The shortest sleep.
const SOON: Duration = Duration::from_millis(20);

/// What the task owns.
pub(super) struct Worker {
    settings: Arc<Settings>,
    incoming: mpsc::Receiver<Vec<Encoded>>,
    queue: Queue,
    pace: Pace,
    backlog: Backlog,
    client: Arc<Client>,
    health: Health,
    waiting: Waiting,
    in_flight: JoinSet<Outcome>,
    /// The requests on their way, by task.
    batches: HashMap<task::Id, Batch>,
    /// Requests on their way with profiles that had waited or failed before.
    backlog_in_flight: usize,
    /// When to stop, once the end was announced.
    deadline: Option<BootNanos>,
}

impl Worker {
    /// With nothing to send yet.
    pub(super) fn new(
        settings: Arc<Settings>,
        incoming: mpsc::Receiver<Vec<Encoded>>,
        client: Client,
        shared: &Shared,
    ) -> Self {
        let now = BootNanos::now();
        let health = shared.health.clone();
        health.set(Gauge::QueueCapacity, as_count(settings.queue_bytes));
        Self {
            queue: Queue::new(settings.queue_bytes),
            pace: Pace::new(settings.pace, settings.retry, now),
            backlog: Backlog::default(),
            client: Arc::new(client),
            settings,
            incoming,
            health,
            waiting: shared.waiting.clone(),
            in_flight: JoinSet::new(),
            batches: HashMap::new(),
            backlog_in_flight: 0,
            deadline: None,
        }
    }

    /// Runs until the deadline of the end, or until everything is sent after the end was announced.
    pub(super) async fn run(mut self, ending: &mut Ending) {
        let mut is_open = true;
        loop {
            let now = BootNanos::now();
            self.drop_old(now);
            let wake = self.send(now);
            self.show_queue();
            self.tell(now);
            if let Some(deadline) = self.deadline {
                let through = !is_open && self.queue.is_empty() && self.in_flight.is_empty();
                if through || now >= deadline {
                    break;
                }
            }
            tokio::select! {
                next = self.incoming.recv(), if is_open => match next {
                    Some(portion) => self.take(portion),
                    None => is_open = false,
                },
                Some(ended) = self.in_flight.join_next_with_id() => self.ended(ended),
                deadline = ending.deadline(), if self.deadline.is_none() => self.stop(deadline),
                () = sleep_until(wake) => {}
            }
        }
        // Answers that have come in the meantime are counted.
        while let Some(ended) = self.in_flight.try_join_next_with_id() {
            self.ended(ended);
        }
        // The encoder may be about to hand over a portion: if it cannot, it counts that itself.
        self.incoming.close();
        while let Some(portion) = self.incoming.recv().await {
            self.take(portion);
        }
    }

    fn ended(&mut self, ended: Result<(task::Id, Outcome), JoinError>) {
        match ended {
            Ok((id, outcome)) => self.pushed(id, outcome),
            Err(error) => {
                let reason = format!("the request has ended without an outcome: {error}");
                self.pushed(error.id(), Outcome::Unknown { reason });
            }
        }
    }

    /// From now on everything is tried at once.
    fn stop(&mut self, deadline: BootNanos) {
        let now = BootNanos::now();
        self.deadline = Some(deadline);
        self.queue.hurry(now);
        self.pace.hurry(now);
    }

    fn take(&mut self, portion: Vec<Encoded>) {
        let now = BootNanos::now();
        for encoded in portion {
            let dropped = self.queue.push(encoded, now);
            self.dropped_for_room(dropped);
        }
    }

    fn dropped_for_room(&self, encoded: Vec<Encoded>) {
        for encoded in encoded {
            let reason = "too much waits: it was the oldest";
            self.lose(&encoded.service, Loss::QueueFull, reason);
        }
    }

    fn drop_old(&mut self, now: BootNanos) {
        for encoded in self.queue.expire(now.before(self.settings.retry.oldest)) {
            let reason = "the server would refuse its age";
            self.lose(&encoded.service, Loss::ProfileTooOld, reason);
        }
    }

    /// This many profiles wait no more.
    fn ended_with(&self, profiles: usize) {
        self.waiting.subtract(profiles);
        self.health.lower(Gauge::ProfilesWaiting, profiles);
    }

    fn lose(&self, service: &Service, loss: Loss, reason: &str) {
        self.ended_with(1);
        self.health.count(loss);
        dropped(service, reason);
    }

    /// Sends as much as may go now. Returns when there may be more.
    fn send(&mut self, now: BootNanos) -> Instant {
        let look = if self.is_at_rest() { REST } else { LOOK };
        let look = now.after(look);
        let mut wake = self.deadline.map_or(look, |deadline| deadline.min(look));
        while self.in_flight.len() < self.pace.requests() {
            if self.pace.is_paused(now) {
                wake = wake.min(self.pace.when(0, now));
                break;
            }
            let requests = self.pace.requests();
            let backlog = requests == 1 || self.backlog_in_flight + 1 < requests;
            let live = requests == 1 || !self.is_probing();
            let alone_from = self.pace.alone_paused_until();
            let room = Room {
                bytes: self.pace.request_bytes(),
                allowance: self.pace.allowance(now),
                backlog,
                live,
                alone: backlog && alone_from <= now,
            };
            let soon = now.after(SOON);
            match self.queue.take(now, room) {
                Next::Goes(batch) => self.push(batch, now),
                Next::NotYet(bytes) => {
                    wake = wake.min(self.pace.when(bytes, now).max(soon));
                    break;
                }
                Next::Nothing => {
                    // A profile that is ready and did not go waits until a request on its way has ended.
                    let ready = self.queue.next_ready(now);
                    let alone = Some(alone_from).filter(|&from| from > now);
                    for time in [ready, alone].into_iter().flatten() {
                        wake = wake.min(time.max(soon));
                    }
                    break;
                }
            }
        }
        Instant::from_std(monotonic_now() + wake.since(now))
    }

    /// Whether there is nothing to do until a portion comes in.
    fn is_at_rest(&self) -> bool {
        self.queue.is_empty() && self.in_flight.is_empty() && self.backlog.is_over()
    }

    /// Whether a request with what has come in probes if the server is back.
    fn is_probing(&self) -> bool {
        self.pace.is_failing() && self.in_flight.len() > self.backlog_in_flight
    }

    fn push(&mut self, batch: Batch, now: BootNanos) {
        self.pace.spend(batch.charged(), now);
        self.backlog_in_flight += usize::from(batch.is_backlog);
        let deadline = self.deadline;
        let most = deadline.map_or(Duration::MAX, |deadline| deadline.since(now));
        let client = Arc::clone(&self.client);
        let body = client::body(&batch.items);
        self.health.add(Loss::PushedBytes, as_count(body.len()));
        let health = self.health.clone();
        let handle = self.in_flight.spawn(async move {
            let start = monotonic_now();
            let outcome = client.push(body, most).await;
            let took = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
            health.add(Loss::PushTime, took);
            outcome
        });
        self.batches.insert(handle.id(), batch);
    }

    fn pushed(&mut self, id: task::Id, outcome: Outcome) {
        let Some(batch) = self.batches.remove(&id) else {
            return;
        };
        self.backlog_in_flight -= usize::from(batch.is_backlog);
        self.health.count(outcome.counts_as());
        self.settle(batch.items, outcome, BootNanos::now());
    }

    /// What becomes of profiles, and of the pace, by what came of their request.
    fn settle(&mut self, items: Vec<Item>, outcome: Outcome, now: BootNanos) {
        let chance = fastrand::f64();
        match outcome {
            Outcome::Stored => self.stored(items, now),
            Outcome::Refused { reason } => self.refused(items, &reason, now),
            Outcome::Unavailable { reason } => {
                self.again(Loss::RetriedUnavailable, &items);
                self.pace.failed(None, chance, now);
                self.backlog.failed(&reason);
                self.put_back(items);
            }
            Outcome::TooMuch { after, reason } => {
                self.again(Loss::RetriedTooMuch, &items);
                self.pace.throttled(after, chance, now);
                self.backlog.failed(&reason);
                // A single one may be more than the server ever takes at once.
                if items.len() == 1 {
                    self.failed(items, after, now);
                } else {
                    self.put_back(items);
                }
            }
            Outcome::Failed { after, reason } => {
                self.again(Loss::RetriedFailed, &items);
                self.slow_down(&items, after, now);
                self.backlog.failed(&reason);
                self.failed(items, after, now);
            }
            Outcome::Unknown { reason } => {
                self.again(Loss::ProfileMaybeTwice, &items);
                self.slow_down(&items, None, now);
                self.backlog.failed(&reason);
                self.failed(items, None, now);
            }
        }
    }

    /// These are sent once more.
    fn again(&self, why: Loss, items: &[Item]) {
        self.health.add(why, as_count(items.len()));
    }

    /// A request has failed, perhaps because of one of its profiles.
    fn slow_down(&mut self, items: &[Item], after: Option<Duration>, now: BootNanos) {
        let chance = fastrand::f64();
        if items.iter().all(|item| item.is_suspect) {
            self.pace.failed_alone(after, chance, now);
        } else {
            self.pace.failed(after, chance, now);
        }
    }

    fn stored(&mut self, items: Vec<Item>, now: BootNanos) {
        if self.pace.stored() {
            // The profiles that failed while the server was away were not the cause.
            self.queue.hurry(now);
        }
        self.backlog.stored();
        self.health.add(Loss::ProfileStored, as_count(items.len()));
        for item in items {
            self.queue.done(&item);
            self.queue.trust(&item.encoded.service);
            self.ended_with(1);
        }
    }

    /// The server refuses one of them: the one that it names, or the only one. The others are sent again at once, in
    /// two halves until it is found.
    fn refused(&mut self, mut items: Vec<Item>, reason: &str, now: BootNanos) {
        let blamed = match items.len() {
            1 => Some(0),
            _ => client::blamed(reason, &items),
        };
        if let Some(index) = blamed {
            let item = items.swap_remove(index);
            let service = &item.encoded.service;
            self.queue.done(&item);
            self.queue.suspect(service);
            self.ended_with(1);
            self.health.count(Loss::ProfileRefused);
            tracing::error!(
                service = service.name,
                reason,
                "Pyroscope refused a profile"
            );
        }
        self.again(Loss::RetriedBesideRefused, &items);
        let half = items.len().div_ceil(2);
        for item in &mut items {
            item.company = half;
            item.ready = now;
        }
        self.put_back(items);
    }

    /// One of them may have made the server fail: each is tried again with fewer others, and later.
    fn failed(&mut self, mut items: Vec<Item>, after: Option<Duration>, now: BootNanos) {
        let half = items.len().div_ceil(2);
        if let [item] = items.as_mut_slice() {
            item.is_suspect = true;
            self.queue.suspect(&item.encoded.service);
        }
        for item in &mut items {
            item.attempts = item.attempts.saturating_add(1);
            item.company = half;
            // Profiles that were sent together may go together again.
            let wait = self.settings.retry.wait(item.attempts, after, 0.5);
            item.ready = now.after(wait);
        }
        self.put_back(items);
    }

    fn put_back(&mut self, items: Vec<Item>) {
        for item in items {
            let dropped = self.queue.put_back(item);
            self.dropped_for_room(dropped);
        }
    }

    fn show_queue(&self) {
        let (bytes, oldest) = self.queue.used();
        self.health.set(Gauge::QueueUsed, as_count(bytes));
        self.health
            .set(Gauge::QueueOldest, oldest.map_or(0, |it| it.0));
    }

    fn tell(&mut self, now: BootNanos) {
        // Counting all that waits takes time.
        if self.backlog.is_quiet(now) {
            return;
        }
        let summary = self.queue.summary(now);
        let url = &self.settings.server.url;
        match self.backlog.line(&summary, self.in_flight.len(), now) {
            Some(Line::Waits(line)) => tracing::warn!(url, "{line}"),
            Some(Line::Over(line)) => tracing::info!("{line}"),
            None => {}
        }
    }

    fn drop_left(&self, left: &HashMap<Arc<Service>, usize>) {
        for (service, &number) in left {
            self.health.add(Loss::ProfileLeft, as_count(number));
            self.ended_with(number);
            tracing::error!(
                service = service.name,
                number,
                "dropped profiles: the agent ends, and they could not be pushed in time"
            );
        }
    }
}

impl Drop for Worker {
    /// No time is left: what is still here is dropped, and counted. Also if the runtime ends, or a bug ends the task.
    fn drop(&mut self) {
        let mut left = self.queue.clear();
        let on_their_way = std::mem::take(&mut self.batches).into_values();
        let items = on_their_way.flat_map(|batch| batch.items);
        let mut services: Vec<_> = items.map(|item| item.encoded.service).collect();
        self.incoming.close();
        while let Ok(portion) = self.incoming.try_recv() {
            services.extend(portion.into_iter().map(|encoded| encoded.service));
        }
        for service in services {
            *left.entry(service).or_default() += 1;
        }
        self.drop_left(&left);
    }
}

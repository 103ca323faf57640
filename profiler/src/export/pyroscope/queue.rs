//! What waits to be sent: bounded by bytes, the oldest dropped first. Pure: time comes as argument.

mod item;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

pub(super) use self::item::{Encoded, Item};
use self::item::{Turn, company};
use crate::{id::Service, time::BootNanos};

/// Most services remembered because a profile of theirs has failed alone.
const MAX_SUSPECTS: usize = 4_096;
/// What a request may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Bytes as the server charges them. A profile that is larger goes alone.
    pub(super) bytes: usize,
    /// Bytes that the rate allows now.
    pub(super) allowance: usize,
    /// Whether profiles that have waited or failed may go.
    pub(super) backlog: bool,
    /// Whether profiles that have just come may go.
    pub(super) live: bool,
    /// Whether profiles that go alone may go.
    pub(super) alone: bool,
}

/// What the queue has to send now.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing is ready.
    Nothing,
    /// A request is ready, but the rate does not allow this many bytes yet.
    NotYet(usize),
    /// A request.
    Goes(Batch),
}

/// Profiles that go in one request.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) items: Vec<Item>,
    /// Whether they had waited or failed before, or go alone.
    pub(super) is_backlog: bool,
}

impl Batch {
    /// Bytes that the server charges.
    pub(super) fn charged(&self) -> usize {
        self.items.iter().map(|item| item.encoded.charged).sum()
    }
}

/// A summary of what waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    /// Profiles.
    pub(super) profiles: usize,
    /// Those of them that have waited or failed.
    pub(super) backlog: usize,
    /// Services.
    pub(super) services: usize,
    /// Bytes they take.
    pub(super) bytes: usize,
    /// Bytes they may take.
    pub(super) room: usize,
    /// Age of the oldest.
    pub(super) oldest: Duration,
}

/// What waits to be sent, by the age of its window.
#[derive(Debug)]
pub(super) struct Queue {
    /// Most bytes, those that are being sent included.
    room: usize,
    bytes: usize,
    in_flight: usize,
    /// By window, then in the order they came.
    items: BTreeMap<(BootNanos, u64), Item>,
    counter: u64,
    /// Services of which a profile has failed alone: their next ones go alone, too.
    suspects: HashSet<Arc<Service>>,
}

impl Queue {
    /// An empty queue with room for this many bytes.
    pub(super) fn new(room: usize) -> Self {
        Self {
            room,
            bytes: 0,
            in_flight: 0,
            items: BTreeMap::new(),
            counter: 0,
            suspects: HashSet::new(),
        }
    }

    /// Puts a new profile in. Returns those that made room: the oldest.
    pub(super) fn push(&mut self, encoded: Encoded, now: BootNanos) -> Vec<Encoded> {
        let is_suspect = self.suspects.contains(&encoded.service);
        self.insert(Item {
            encoded,
            attempts: 0,
            company: company(is_suspect),
            is_suspect,
            ready: now,
        });
        self.shrink()
    }

    /// Puts a profile back that was taken. Returns those that made room.
    pub(super) fn put_back(&mut self, item: Item) -> Vec<Encoded> {
        self.done(&item);
        self.insert(item);
        self.shrink()
    }

    /// Forgets a profile that was taken.
    pub(super) fn done(&mut self, item: &Item) {
        self.in_flight = self.in_flight.saturating_sub(item.bytes());
    }

    fn insert(&mut self, item: Item) {
        self.bytes += item.bytes();
        self.counter += 1;
        self.items.insert((item.encoded.began, self.counter), item);
    }

    fn remove(&mut self, key: (BootNanos, u64)) -> Option<Item> {
        let item = self.items.remove(&key)?;
        self.bytes -= item.bytes();
        Some(item)
    }

    fn shrink(&mut self) -> Vec<Encoded> {
        let mut dropped = Vec::new();
        while self.bytes + self.in_flight > self.room
            && let Some((&oldest, _)) = self.items.first_key_value()
        {
            dropped.extend(self.remove(oldest).map(|item| item.encoded));
        }
        dropped
    }

    /// Takes out what began before a time.
    pub(super) fn expire(&mut self, before: BootNanos) -> Vec<Encoded> {
        let mut expired = Vec::new();
        while let Some((&key, _)) = self.items.first_key_value()
            && key.0 < before
        {
            expired.extend(self.remove(key).map(|item| item.encoded));
        }
        expired
    }

    /// Takes what goes in the next request. Of the profiles that are ready, live ones go before the backlog, and both
    /// before those that go alone; the oldest first, as many as the request may hold. If the rate does not allow all of
    /// them yet, the request waits as a whole: otherwise requests would become small, and those that may be on their
    /// way at once would carry little.
    pub(super) fn take(&mut self, now: BootNanos, room: Room) -> Next {
        let turns = [
            (Turn::Live, room.live),
            (Turn::Backlog, room.backlog),
            (Turn::Alone, room.alone),
        ];
        let chosen = turns.into_iter().filter(|(_, may_go)| *may_go);
        let chosen = chosen.map(|(turn, _)| {
            let is_wanted = move |item: &Item| item.ready <= now && item.turn(now) == turn;
            (turn, Self::choose(&self.items, is_wanted, room))
        });
        let Some((turn, chosen)) = chosen.into_iter().find(|(_, chosen)| !chosen.is_empty()) else {
            return Next::Nothing;
        };
        let is_backlog = turn != Turn::Live;
        let items = chosen.iter().filter_map(|key| self.items.get(key));
        let charged: usize = items.map(|item| item.encoded.charged).sum();
        if charged > room.allowance {
            return Next::NotYet(charged);
        }
        let items: Vec<Item> = chosen
            .into_iter()
            .filter_map(|key| self.remove(key))
            .collect();
        self.in_flight += items.iter().map(Item::bytes).sum::<usize>();
        Next::Goes(Batch { items, is_backlog })
    }

    fn choose(
        items: &BTreeMap<(BootNanos, u64), Item>,
        is_wanted: impl Fn(&Item) -> bool,
        room: Room,
    ) -> Vec<(BootNanos, u64)> {
        let (mut chosen, mut most, mut charged) = (Vec::new(), usize::MAX, 0);
        for (&key, item) in items {
            if chosen.len() >= most {
                break;
            }
            if item.company <= chosen.len() || !is_wanted(item) {
                continue;
            }
            let with_it = charged + item.encoded.charged;
            if with_it > room.bytes && !chosen.is_empty() {
                break;
            }
            chosen.push(key);
            charged = with_it;
            most = most.min(item.company);
        }
        chosen
    }

    /// When the next profile that is not ready yet will be ready.
    pub(super) fn next_ready(&self, now: BootNanos) -> Option<BootNanos> {
        let ready = self.items.values().map(|item| item.ready);
        ready.filter(|&ready| ready > now).min()
    }

    /// Makes everything ready, as if nothing had failed: the profiles were not the cause. Only a profile that has
    /// failed alone still goes alone: if it is the cause, it would make others fail again.
    pub(super) fn hurry(&mut self, now: BootNanos) {
        for item in self.items.values_mut() {
            item.ready = item.ready.min(now);
            item.company = company(item.is_suspect);
            item.attempts = 0;
        }
    }

    /// A profile has failed alone: the next ones of its service are sent alone.
    pub(super) fn suspect(&mut self, service: &Arc<Service>) {
        if self.suspects.len() >= MAX_SUSPECTS {
            self.suspects.clear();
        }
        self.suspects.insert(Arc::clone(service));
    }

    /// A profile of a service was stored.
    pub(super) fn trust(&mut self, service: &Arc<Service>) {
        self.suspects.remove(service);
    }

    /// Bytes of what waits or is on its way, and when the oldest that waits began.
    pub(super) fn used(&self) -> (usize, Option<BootNanos>) {
        let oldest = self.items.first_key_value();
        let began = oldest.map(|((began, _), _)| *began);
        (self.bytes + self.in_flight, began)
    }

    /// What waits, in numbers.
    pub(super) fn summary(&self, now: BootNanos) -> Summary {
        let services: HashSet<&Arc<Service>> = self
            .items
            .values()
            .map(|item| &item.encoded.service)
            .collect();
        let oldest = self.items.first_key_value();
        Summary {
            profiles: self.items.len(),
            backlog: self.items.values().filter(|it| it.is_backlog(now)).count(),
            services: services.len(),
            bytes: self.bytes + self.in_flight,
            room: self.room,
            oldest: oldest.map_or(Duration::ZERO, |((began, _), _)| now.since(*began)),
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Takes everything out, counted by service.
    pub(super) fn clear(&mut self) -> HashMap<Arc<Service>, usize> {
        let mut left: HashMap<Arc<Service>, usize> = HashMap::new();
        for item in std::mem::take(&mut self.items).into_values() {
            *left.entry(item.encoded.service).or_default() += 1;
        }
        self.bytes = 0;
        left
    }
}

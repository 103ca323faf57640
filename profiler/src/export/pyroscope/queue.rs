//! What waits to be sent: bounded by bytes, the oldest dropped first. Pure: time comes as argument.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::proto::LabelPair;
use crate::{id::Service, time::BootNanos};

/// Age up to which a window goes before those that have waited longer.
const LIVE: Duration = Duration::from_secs(60);
/// Most services remembered because a profile of theirs has failed alone.
const MAX_SUSPECTS: usize = 4_096;
/// Bytes that an item takes beside its profile and its labels, roughly.
const OVERHEAD: usize = 256;
/// Bytes that a label takes beside its text, roughly: two texts' heads, and what an allocation costs.
const OF_LABEL: usize = 64;

/// A profile, encoded: what a server is to store.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    /// The service that it is of.
    pub(super) service: Arc<Service>,
    /// The series it belongs to.
    pub(super) labels: Arc<[LabelPair]>,
    /// A UUID: the server's errors name the profile by it.
    pub(super) id: String,
    /// A gzipped pprof message.
    pub(super) pprof: Bytes,
    /// Bytes that the server charges for it: the message before compression, and the labels.
    pub(super) charged: usize,
    /// When its window began: the server judges its age by that. On a clock that cannot be set.
    pub(super) began: BootNanos,
}

/// Something that waits.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) encoded: Encoded,
    /// Failures so far that may be this profile's own.
    pub(super) attempts: u32,
    /// How many profiles may be in one request with it, itself included.
    pub(super) company: usize,
    /// Whether it, or an earlier one of its service, has failed alone.
    pub(super) is_suspect: bool,
    /// When it may be sent again.
    pub(super) ready: BootNanos,
}

impl Item {
    fn bytes(&self) -> usize {
        let labels = self.encoded.labels.iter();
        let labels: usize = labels
            .map(|label| label.name.len() + label.value.len() + OF_LABEL)
            .sum();
        self.encoded.pprof.len() + labels + OVERHEAD
    }

    /// Whether profiles that come in now go before it.
    fn is_backlog(&self, now: BootNanos) -> bool {
        self.attempts > 0 || now.since(self.encoded.began) >= LIVE
    }

    fn turn(&self, now: BootNanos) -> Turn {
        if self.is_suspect {
            Turn::Alone
        } else if self.is_backlog(now) {
            Turn::Backlog
        } else {
            Turn::Live
        }
    }
}

/// The class of an item, which decides when it goes: earlier variants go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// It has just come in.
    Live,
    /// It has waited or failed.
    Backlog,
    /// Suspects: each takes a separate request, which may well fail. However many they are, they hold up no other
    /// profile.
    Alone,
}

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

/// Profiles that may go with a new one, itself included.
fn company(is_suspect: bool) -> usize {
    if is_suspect { 1 } else { usize::MAX }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::{Batch, Encoded, Next, OVERHEAD, Queue, Room};
    use crate::{export::pyroscope::proto::LabelPair, id::Service, time::BootNanos};

    const NOW: BootNanos = BootNanos(10_000_000_000_000);
    const ROOM: Room = Room {
        bytes: 1_000,
        allowance: usize::MAX,
        backlog: true,
        live: true,
        alone: true,
    };

    /// A profile of a service that began this many seconds ago and is charged with 100 bytes.
    fn encoded(name: &str, age: u64) -> Encoded {
        Encoded {
            service: Arc::new(Service {
                name: name.to_owned(),
                ..Service::default()
            }),
            labels: Arc::from([]),
            id: name.to_owned(),
            pprof: vec![0; 10].into(),
            charged: 100,
            began: BootNanos(NOW.0 - age * 1_000_000_000),
        }
    }

    fn batch(queue: &mut Queue, room: Room) -> Option<Batch> {
        match queue.take(NOW, room) {
            Next::Goes(batch) => Some(batch),
            Next::Nothing | Next::NotYet(_) => None,
        }
    }

    fn names(queue: &mut Queue, room: Room) -> Vec<String> {
        let items = batch(queue, room).into_iter().flat_map(|batch| batch.items);
        items.map(|item| item.encoded.id).collect()
    }

    /// Bytes are the bound, those in flight included; the oldest window goes first, and is returned so that it can be
    /// counted.
    #[test]
    fn bounded_by_bytes() {
        let mut queue = Queue::new(3 * (10 + OVERHEAD));
        for (name, age) in [("b", 20), ("a", 30), ("c", 10)] {
            assert!(queue.push(encoded(name, age), NOW).is_empty());
        }
        let dropped = queue.push(encoded("d", 0), NOW);
        assert_eq!(dropped.len(), 1);
        assert_eq!(dropped[0].id, "a");
        let batch = batch(&mut queue, ROOM).unwrap();
        assert_eq!(batch.items.len(), 3);
        // The profiles that are being sent take all the room.
        assert_eq!(queue.push(encoded("e", 0), NOW).len(), 1);
        for item in &batch.items {
            queue.done(item);
        }
        assert!(queue.push(encoded("f", 0), NOW).is_empty());
        assert_eq!(queue.summary(NOW).bytes, 10 + OVERHEAD);
    }

    /// Profiles that come in now go before those that have waited, and each in the order of its windows.
    #[test]
    fn live_before_backlog() {
        let mut queue = Queue::new(usize::MAX);
        for (name, age) in [("old", 600), ("older", 700), ("new", 10), ("newer", 5)] {
            queue.push(encoded(name, age), NOW);
        }
        let without = Room {
            live: false,
            backlog: false,
            ..ROOM
        };
        assert!(names(&mut queue, without).is_empty());
        assert_eq!(queue.summary(NOW).backlog, 2);
        assert_eq!(names(&mut queue, ROOM), ["new", "newer"]);
        assert!(
            names(
                &mut queue,
                Room {
                    backlog: false,
                    ..ROOM
                }
            )
            .is_empty(),
            "there is only a backlog"
        );
        assert_eq!(names(&mut queue, ROOM), ["older", "old"]);
    }

    /// A request is filled up to its bytes and the rate's; a profile larger than a request goes alone.
    #[test]
    fn requests_are_bounded() {
        let mut queue = Queue::new(usize::MAX);
        let mut large = encoded("large", 9);
        large.charged = 5_000;
        queue.push(large, NOW);
        for number in 0..12 {
            queue.push(encoded(&number.to_string(), 8), NOW);
        }
        let little = Room {
            allowance: 4_999,
            ..ROOM
        };
        let next = queue.take(NOW, little);
        assert!(matches!(next, Next::NotYet(5_000)), "it is its turn");
        assert_eq!(names(&mut queue, ROOM), ["large"]);
        assert_eq!(names(&mut queue, ROOM).len(), 10);
        let little = Room {
            allowance: 199,
            ..ROOM
        };
        assert!(matches!(queue.take(NOW, little), Next::NotYet(200)));
        assert_eq!(names(&mut queue, ROOM).len(), 2);
    }

    /// A profile that has failed goes with ever fewer others, when its time has come; its service's next profile goes
    /// alone, until one is stored. A profile that waits for its time holds up no other.
    #[test]
    fn company() {
        let mut queue = Queue::new(usize::MAX);
        for number in 0..4 {
            queue.push(encoded(&number.to_string(), 8), NOW);
        }
        let mut items = batch(&mut queue, ROOM).unwrap().items;
        for item in &mut items {
            item.company = 2;
        }
        items[0].ready = BootNanos(NOW.0 + 1);
        let service = Arc::clone(&items[1].encoded.service);
        for item in items {
            assert!(queue.put_back(item).is_empty());
        }
        assert_eq!(names(&mut queue, ROOM), ["1", "2"]);
        assert_eq!(names(&mut queue, ROOM), ["3"]);
        assert!(names(&mut queue, ROOM).is_empty());
        assert_eq!(queue.next_ready(NOW), Some(BootNanos(NOW.0 + 1)));
        queue.hurry(NOW);
        assert_eq!(names(&mut queue, ROOM), ["0"]);
        queue.suspect(&service);
        for name in ["1", "5", "6"] {
            queue.push(encoded(name, 1), NOW);
        }
        assert_eq!(names(&mut queue, ROOM), ["5", "6"]);
        assert_eq!(names(&mut queue, ROOM), ["1"]);
        queue.trust(&service);
        for name in ["1", "5"] {
            queue.push(encoded(name, 1), NOW);
        }
        assert_eq!(names(&mut queue, ROOM), ["1", "5"]);
    }

    /// Profiles that go alone come after all others, also after those that have waited: there may be many of them, and
    /// each takes a request.
    #[test]
    fn alone_is_last() {
        let mut queue = Queue::new(usize::MAX);
        queue.suspect(&encoded("bad", 0).service);
        for (name, age) in [("bad", 700), ("old", 600), ("bad", 20), ("new", 10)] {
            queue.push(encoded(name, age), NOW);
        }
        for name in ["new", "old", "bad", "bad"] {
            assert_eq!(names(&mut queue, ROOM), [name]);
        }
    }

    /// A profile that is ready and did not go waits for an answer and not for a time.
    #[test]
    fn next_ready() {
        let mut queue = Queue::new(usize::MAX);
        queue.push(encoded("ready", 700), NOW);
        assert_eq!(queue.next_ready(NOW), None);
        let mut item = batch(&mut queue, ROOM).unwrap().items.remove(0);
        item.ready = BootNanos(NOW.0 + 5);
        queue.put_back(item);
        queue.push(encoded("ready", 600), NOW);
        assert_eq!(queue.next_ready(NOW), Some(BootNanos(NOW.0 + 5)));
    }

    /// After an outage no profile is to blame: failures are counted anew, and profiles that failed together with others
    /// may go with any.
    #[test]
    fn hurry() {
        let mut queue = Queue::new(usize::MAX);
        for name in ["1", "2", "3"] {
            queue.push(encoded(name, 8), NOW);
        }
        for mut item in batch(&mut queue, ROOM).unwrap().items {
            (item.attempts, item.company) = (20, 1);
            item.ready = BootNanos(u64::MAX);
            item.is_suspect = item.encoded.id == "2";
            queue.put_back(item);
        }
        queue.hurry(NOW);
        let mut attempts = |number| {
            let items = batch(&mut queue, ROOM).unwrap().items;
            assert_eq!(items.len(), number);
            items.iter().map(|item| item.attempts).sum::<u32>()
        };
        assert_eq!((attempts(2), attempts(1)), (0, 0));
    }

    /// The user's labels are memory, too.
    #[test]
    fn labels_take_room() {
        let mut queue = Queue::new(usize::MAX);
        let mut encoded = encoded("1", 8);
        let label = LabelPair {
            name: "region".to_owned(),
            value: "x".repeat(2_000),
        };
        encoded.labels = vec![label; 16].into();
        queue.push(encoded, NOW);
        assert!(queue.summary(NOW).bytes > 16 * 2_000);
    }

    /// Profiles that are too old come out, and at the end all of them, by service.
    #[test]
    fn leaves() {
        let mut queue = Queue::new(usize::MAX);
        for age in [3_000, 2_000, 10] {
            queue.push(encoded("shop", age), NOW);
        }
        let before = BootNanos(NOW.0 - 2_500_000_000_000);
        assert_eq!(queue.expire(before).len(), 1);
        assert_eq!(queue.summary(NOW).oldest, Duration::from_secs(2_000));
        assert_eq!(queue.clear().into_values().sum::<usize>(), 2);
        assert!(queue.is_empty());
    }
}

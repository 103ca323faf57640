//! What goes first, what goes together, and what is dropped.

use std::{sync::Arc, time::Duration};

use super::{Batch, Encoded, Next, Queue, Room, item::OVERHEAD};
use crate::{
    export::pyroscope::proto::LabelPair,
    id::Service,
    time::{BootNanos, SECOND},
};

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
        began: BootNanos(NOW.0 - age * SECOND),
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

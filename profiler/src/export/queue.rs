//! What waits to be sent: bounded by number and bytes, the oldest dropped first. Takes time as argument.

use std::{collections::VecDeque, time::Instant};

use crate::{
    health::{Health, Loss},
    time::UnixNanos,
};

/// Bounds of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) number: usize,
    pub(super) bytes: usize,
}

/// Something to send.
#[derive(Debug)]
pub(super) struct Item<T> {
    pub(super) content: T,
    /// Memory it holds, roughly.
    pub(super) bytes: usize,
    /// Start of its window: what the server judges its age by.
    pub(super) start: UnixNanos,
    /// Failed attempts so far.
    pub(super) attempts: u32,
    /// Not to be tried before.
    pub(super) ready: Instant,
}

#[derive(Debug)]
pub(super) struct Queue<T> {
    bounds: Bounds,
    bytes: usize,
    items: VecDeque<Item<T>>,
    health: Health,
}

impl<T> Queue<T> {
    pub(super) fn new(bounds: Bounds, health: Health) -> Self {
        Self {
            bounds,
            bytes: 0,
            items: VecDeque::new(),
            health,
        }
    }

    /// Puts an item in, by the age of its window; the oldest make room.
    pub(super) fn push(&mut self, item: Item<T>) {
        self.bytes = self.bytes.saturating_add(item.bytes);
        let place = self.items.partition_point(|it| it.start <= item.start);
        self.items.insert(place, item);
        while self.items.len() > self.bounds.number || self.bytes > self.bounds.bytes {
            let Some(oldest) = self.items.pop_front() else {
                return;
            };
            self.bytes = self.bytes.saturating_sub(oldest.bytes);
            self.health.count(Loss::QueueFull);
        }
    }

    /// Takes the item that has been ready longest.
    pub(super) fn take(&mut self, now: Instant) -> Option<Item<T>> {
        let items = self.items.iter().enumerate();
        let (index, _) = items
            .filter(|(_, item)| item.ready <= now)
            .min_by_key(|(_, item)| item.ready)?;
        let item = self.items.remove(index)?;
        self.bytes = self.bytes.saturating_sub(item.bytes);
        Some(item)
    }

    /// When the next item will be ready.
    pub(super) fn next_ready(&self) -> Option<Instant> {
        self.items.iter().map(|item| item.ready).min()
    }

    /// Makes every item ready.
    pub(super) fn hurry(&mut self, now: Instant) {
        for item in &mut self.items {
            item.ready = item.ready.min(now);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Bounds, Item, Queue};
    use crate::{
        health::{Health, Loss},
        time::{UnixNanos, monotonic_now},
    };

    /// Number and bytes are both bounds, the oldest window goes first and is counted; an item that
    /// waits for its next attempt does not hold up the others.
    #[test]
    fn bounded_and_ready() {
        let health = Health::default();
        let bounds = Bounds {
            number: 3,
            bytes: 100,
        };
        let mut queue = Queue::new(bounds, health.clone());
        let now = monotonic_now();
        let item = |start, bytes, wait| Item {
            content: start,
            bytes,
            start: UnixNanos(start),
            attempts: 0,
            ready: now + Duration::from_secs(wait),
        };
        for start in 1..=4 {
            queue.push(item(start, 10, if start == 2 { 60 } else { 0 }));
        }
        assert_eq!((queue.len(), health.get(Loss::QueueFull)), (3, 1));
        assert_eq!(queue.take(now).unwrap().content, 3);
        assert_eq!(queue.take(now).unwrap().content, 4);
        assert!(queue.take(now).is_none());
        assert_eq!(queue.next_ready(), Some(now + Duration::from_secs(60)));
        queue.push(item(5, 95, 0));
        assert_eq!((queue.len(), health.get(Loss::QueueFull)), (1, 2));
        queue.hurry(now);
        assert_eq!(queue.take(now).unwrap().content, 5);
    }
}

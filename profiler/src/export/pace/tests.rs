//! The pace, by times and answers that the tests make up.

use std::time::Duration;

use super::{LEAST_BYTES, Limits, Pace};
use crate::{export::retry::Policy, time::BootNanos};

const START: BootNanos = BootNanos(5_000_000_000);

fn later(milliseconds: u64) -> BootNanos {
    BootNanos(START.0 + milliseconds * 1_000_000)
}

fn pace() -> Pace {
    Pace::new(Limits::default(), Policy::default(), START)
}

/// A burst goes at once, the rest as fast as the rate; an unused allowance does not pile up.
#[test]
fn rate() {
    let mut pace = pace();
    let Limits {
        burst_bytes,
        bytes_a_second,
        ..
    } = Limits::default();
    assert_eq!(pace.allowed(later(60_000)), burst_bytes);
    assert_eq!(pace.allowance(later(60_000)), usize::MAX);
    pace.spend(burst_bytes, later(60_000));
    assert_eq!(pace.allowance(later(60_000)), 0);
    // The server counts from the arrival of the first of them.
    assert_eq!(pace.allowance(later(60_200)), 0);
    let when = pace.when(bytes_a_second / 10, later(60_000));
    assert!((later(60_300)..later(60_310)).contains(&when), "{when:?}");
    assert!(pace.allowance(when) >= bytes_a_second / 10);
    // A profile larger than any burst must be tried at some time.
    let when = pace.when(usize::MAX, when);
    assert!(when < later(70_000));
    assert_eq!(pace.allowance(when), usize::MAX);
}

/// If it is too much, everything is halved, down to a minimum, and restored bit by bit as pushes are stored.
#[test]
fn gives_way() {
    let mut pace = pace();
    pace.throttled(Some(Duration::from_secs(2)), 0.0, START);
    assert!(pace.is_paused(later(1_999)) && !pace.is_paused(later(2_000)));
    assert_eq!((pace.request_bytes(), pace.requests()), (512 * 1024, 2));
    for _ in 0..20 {
        pace.throttled(None, 1.0, START);
    }
    assert_eq!((pace.request_bytes(), pace.requests()), (LEAST_BYTES, 1));
    for _ in 0..80 {
        pace.stored();
    }
    let Limits {
        request_bytes,
        requests,
        ..
    } = Limits::default();
    assert_eq!(
        (pace.request_bytes(), pace.requests()),
        (request_bytes, requests)
    );
}

/// A server that fails is tried ever less often, but at least every half minute, with two requests at most; one
/// success ends that.
#[test]
fn outage() {
    let mut pace = pace();
    pace.failed(None, 1.0, START);
    assert!(pace.is_paused(later(499)) && !pace.is_paused(later(500)));
    assert_eq!(pace.requests(), 2);
    assert!(!pace.stored());
    for _ in 0..100 {
        pace.failed(None, 1.0, START);
    }
    assert!(pace.is_paused(later(29_999)) && !pace.is_paused(later(30_000)));
    assert!(pace.stored());
    assert_eq!(pace.requests(), 4);
    assert!(!pace.stored());
}

/// A server that for a while says "too much" to everything is an outage, too: it is tried every half minute at
/// least, and the first success ends it.
#[test]
fn outage_of_the_rate() {
    let mut pace = pace();
    for _ in 0..100 {
        pace.throttled(None, 1.0, START);
    }
    assert!(pace.is_paused(later(29_999)) && !pace.is_paused(later(30_000)));
    assert!(pace.stored());
    assert!(!pace.stored());
}

/// Profiles that go alone, and fail, wait for one another; if nothing else succeeds, ever longer.
#[test]
fn alone() {
    let mut pace = pace();
    for _ in 0..100 {
        pace.failed_alone(None, 1.0, START);
    }
    assert!(!pace.is_paused(START) && !pace.is_failing());
    assert_eq!(pace.alone_paused_until(), later(500));
    assert!(!pace.stored(), "the others were stored all the time");
    pace.failed(None, 0.0, START);
    for _ in 0..100 {
        pace.failed_alone(None, 1.0, START);
    }
    assert_eq!(pace.alone_paused_until(), later(30_000));
    assert!(!pace.is_paused(START));
    assert!(pace.stored());
}

/// At the end there is no time for the long pauses of an outage: they begin with the shortest.
#[test]
fn hurry() {
    let mut pace = pace();
    for _ in 0..100 {
        pace.failed(None, 1.0, START);
        pace.throttled(None, 1.0, START);
    }
    pace.hurry(START);
    assert!(!pace.is_paused(START));
    pace.failed(None, 1.0, START);
    pace.throttled(None, 1.0, START);
    assert!(!pace.is_paused(later(501)));
}

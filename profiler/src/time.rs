//! Clocks. The only room that reads them, and the only place that converts one to another.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Nanoseconds of `CLOCK_BOOTTIME`: what the kernel programs stamp records with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootNanos(pub u64);

impl BootNanos {
    /// The time now.
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Self(nanos(time.tv_sec, time.tv_nsec))
    }

    /// So much later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        Self(self.0.saturating_add(whole_nanos(time)))
    }

    /// So much earlier; 0 if there was no such time.
    #[must_use]
    pub fn before(self, time: Duration) -> Self {
        Self(self.0.saturating_sub(whole_nanos(time)))
    }

    /// How long after `earlier` this is; zero when it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Nanoseconds in a millisecond.
pub const MILLISECOND: u64 = 1_000_000;
/// Nanoseconds in a clock tick of the procfs (`USER_HZ` is 100 on every architecture that the agent runs on).
pub const CLOCK_TICK: u64 = 10 * MILLISECOND;
/// Nanoseconds in a second.
pub const SECOND: u64 = 1000 * MILLISECOND;

/// Nanoseconds of the real clock since 1970, UTC: what profiles are stamped with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UnixNanos(pub u64);

impl UnixNanos {
    /// The time now.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the room that reads clocks"
    )]
    pub fn now() -> Self {
        let elapsed = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(whole_nanos(elapsed))
    }
}

/// The monotonic time now, for measuring waits.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the room that reads clocks"
)]
pub fn monotonic_now() -> Instant {
    Instant::now()
}

/// One moment on both clocks. Taken anew for every window, so that a real clock that is set
/// while the agent runs moves later windows only.
#[derive(Clone, Copy, Debug)]
pub struct Anchor {
    boot: BootNanos,
    unix: UnixNanos,
}

impl Anchor {
    /// This moment.
    pub fn now() -> Self {
        Self {
            boot: BootNanos::now(),
            unix: UnixNanos::now(),
        }
    }

    /// An anchor from known clock readings.
    pub fn new(boot: BootNanos, unix: UnixNanos) -> Self {
        Self { boot, unix }
    }

    /// The real time at which the boot clock showed `time`.
    pub fn unix(self, time: BootNanos) -> UnixNanos {
        let difference = i128::from(time.0) - i128::from(self.boot.0);
        let unix = (i128::from(self.unix.0) + difference).clamp(0, i128::from(u64::MAX));
        UnixNanos(u64::try_from(unix).unwrap_or(u64::MAX))
    }
}

fn whole_nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn nanos(seconds: i64, nanoseconds: i64) -> u64 {
    let seconds = u64::try_from(seconds).unwrap_or(0);
    let nanoseconds = u64::try_from(nanoseconds).unwrap_or(0);
    seconds.saturating_mul(SECOND).saturating_add(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::{Anchor, BootNanos, UnixNanos};

    /// A boot time before and after the anchor lands as far from the real time.
    #[test]
    fn anchor_converts_both_ways() {
        let anchor = Anchor::new(BootNanos(1_000), UnixNanos(1_000_000));
        assert_eq!(anchor.unix(BootNanos(1_500)), UnixNanos(1_000_500));
        assert_eq!(anchor.unix(BootNanos(400)), UnixNanos(999_400));
    }
}

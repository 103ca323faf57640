//! Windows on the real clock: none has the same times as another of the last hour.

use std::collections::VecDeque;

use crate::time::{MILLISECOND, SECOND, UnixNanos};

/// The time a profile covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// When it began, on the real clock.
    pub start: UnixNanos,
    /// How long it was, in nanoseconds.
    pub duration_nanos: u64,
}

impl Window {
    /// When it ended.
    pub fn end(self) -> UnixNanos {
        UnixNanos(self.start.0.saturating_add(self.duration_nanos))
    }

    fn at(self, start: u64) -> Self {
        Self {
            start: UnixNanos(start),
            ..self
        }
    }
}

/// How far a window may be moved. Servers take profiles of the next ten minutes, not of later ones.
const MOST_MOVED: u64 = 300 * SECOND;
/// How far in the past servers take profiles, an hour, and a little more.
const REMEMBERED: u64 = 3_700 * SECOND;
/// Time after a window's start in which no other window may start: one whole millisecond, the finest time that every
/// server keeps apart, for each of the parts that a window may be split into.
const RESERVED: u64 = 100 * MILLISECOND;

/// Stamps windows.
///
/// Two profiles of one series must not have the same time: a server would keep one. So a window begins when the one
/// before has ended, also if the real clock was set back by some minutes, or is slowed down. If it was set back by
/// more, the windows follow it, or the server would refuse them; then they may overlap older ones, but never start at
/// the same time.
#[derive(Debug, Default)]
pub struct Windows {
    /// Starts of the windows that a server may still have, as they were stamped.
    starts: VecDeque<u64>,
    end: u64,
}

impl Windows {
    /// The window, moved if need be, and remembered.
    pub fn stamp(&mut self, window: Window) -> Window {
        let start = window.start.0;
        let is_late = (start..=start.saturating_add(MOST_MOVED)).contains(&self.end);
        let mut start = if is_late { self.end } else { start };
        while let Some(taken) = self.in_the_way(start) {
            start = taken.saturating_add(RESERVED);
        }
        let stamped = window.at(start);
        self.end = stamped.end().0;
        self.starts
            .retain(|other| start.abs_diff(*other) < REMEMBERED);
        self.starts.push_back(start);
        stamped
    }

    fn in_the_way(&self, start: u64) -> Option<u64> {
        let starts = self.starts.iter().copied();
        starts
            .filter(|taken| taken.abs_diff(start) < RESERVED)
            .max()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{REMEMBERED, RESERVED, Window, Windows};
    use crate::time::{MILLISECOND, SECOND, UnixNanos};

    fn window(start: u64) -> Window {
        Window {
            start: UnixNanos(start),
            duration_nanos: 15 * SECOND,
        }
    }

    /// A clock that is set back by some minutes moves the windows behind the last one; once it has caught up, they are
    /// no longer moved. A clock that is set back by an hour is followed.
    #[test]
    fn clock_set_back() {
        let mut windows = Windows::default();
        let start = 1_000_000 * SECOND;
        assert_eq!(windows.stamp(window(start)), window(start));
        assert_eq!(
            windows.stamp(window(start - 60 * SECOND)),
            window(start + 15 * SECOND)
        );
        assert_eq!(
            windows.stamp(window(start + 31 * SECOND)),
            window(start + 31 * SECOND)
        );
        let hour = start - 3_600 * SECOND;
        assert_eq!(windows.stamp(window(hour)), window(hour));
        // There it would meet the first one again.
        assert_eq!(windows.stamp(window(start + 1)), window(start + RESERVED));
    }

    proptest! {
        /// However the clock is set, no two windows start at the same time, and none is moved into a time that the
        /// server refuses.
        #[test]
        fn none_meets_another(steps in prop::collection::vec(-700_000_i64..700_000, 1..300)) {
            let mut windows = Windows::default();
            let (mut clock, mut stamped) = (10_000_000_u64 * SECOND, Vec::<u64>::new());
            for step in steps {
                // Most steps are those of a clock that is never set.
                let step = if step % 3 == 0 { step } else { 15_000 };
                clock = clock.saturating_add_signed(step * MILLISECOND.cast_signed());
                let start = windows.stamp(window(clock)).start.0;
                prop_assert!(start >= clock && start - clock < 590 * SECOND);
                for other in &stamped {
                    let apart = other.abs_diff(start);
                    prop_assert!(apart >= RESERVED || apart >= REMEMBERED, "{apart}");
                }
                stamped.retain(|other| other.abs_diff(start) < REMEMBERED);
                stamped.push(start);
            }
        }
    }
}

//! When to look at the memory of a process: at first, after imports, when something does not fit, and again and again
//! for a while if something is not there yet.

use std::time::Duration;

use crate::{
    targets::why::Why,
    time::{BootNanos, MILLISECOND, SECOND},
};

/// What does not fit is looked at again at most this often, in nanoseconds, unless the reason is new.
const AGAIN: u64 = 90 * MILLISECOND;
/// After a look that took longer than this, the process rests from looks that it brings about itself, so many times as
/// long: it cannot make the agent look at it for more than a part of its time.
const SHORT: Duration = Duration::from_millis(10);
const RECOVERY: u32 = 20;
/// What is not there yet is looked for again after this long, and then twice as long up to the last, in nanoseconds.
const LATER_FIRST: u64 = 20 * MILLISECOND;
const LATER_LAST: u64 = 5 * SECOND;
/// A process that lacks nothing is asked at most this often, whether another OpenTelemetry has taken the place of the
/// one it had, in nanoseconds.
const REPLACED_EVERY: u64 = 5 * SECOND;

/// The looks at one process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looks {
    /// Whether it has run since it was asked what it has imported, and when that was.
    has_run: bool,
    imports: BootNanos,
    /// When it was last asked because of a misfit, and because of an unknown interpreter.
    misfit: BootNanos,
    interpreter: BootNanos,
    /// It rests from looks that it brings about itself.
    rests_until: BootNanos,
    /// When to look again if something is not there yet, and after how long the time after that.
    due: Option<BootNanos>,
    pause: u64,
}

impl Default for Looks {
    fn default() -> Self {
        Self {
            has_run: false,
            imports: BootNanos(0),
            misfit: BootNanos(0),
            interpreter: BootNanos(0),
            rests_until: BootNanos(0),
            due: None,
            pause: LATER_FIRST,
        }
    }
}

/// Whether at least `every` nanoseconds have passed since something was done; if so, it counts as done now.
fn is_time(last: &mut BootNanos, now: BootNanos, every: u64) -> bool {
    let is_time = now.since(*last) >= Duration::from_nanos(every);
    if is_time {
        *last = now;
    }
    is_time
}

impl Looks {
    /// Whether to look now for a reason. If so, that counts as done.
    pub(super) fn may_look(&mut self, why: Why, now: BootNanos) -> bool {
        match why {
            // After its own pauses.
            Why::NotYet => true,
            _ if now < self.rests_until => false,
            Why::Imports => true,
            Why::UnknownInterpreter => is_time(&mut self.interpreter, now, AGAIN),
            Why::Misfit => is_time(&mut self.misfit, now, AGAIN),
            Why::NewMisfit => is_time(&mut self.misfit, now, 0),
        }
    }

    /// A look took so long.
    pub(super) fn took(&mut self, took: Duration, now: BootNanos) {
        let rest = if took > SHORT {
            took * RECOVERY
        } else {
            Duration::ZERO
        };
        let rest = u64::try_from(rest.as_nanos()).unwrap_or(u64::MAX);
        self.rests_until = BootNanos(now.0.saturating_add(rest));
    }

    /// It has used CPU time.
    pub(super) fn has_run(&mut self) {
        self.has_run = true;
    }

    /// Whether it may have imported something that is worth a look. If so, that counts as done.
    pub(super) fn may_have_imported(&mut self, lacks_something: bool, now: BootNanos) -> bool {
        let every = if lacks_something { 0 } else { REPLACED_EVERY };
        let may_have = self.has_run && is_time(&mut self.imports, now, every);
        if may_have {
            self.has_run = false;
        }
        may_have
    }

    /// When to look again for what is not there yet.
    pub(super) fn due(&self) -> Option<BootNanos> {
        self.due
    }

    /// Whether that time has come. If so, it is planned no more.
    pub(super) fn take_due(&mut self, now: BootNanos) -> bool {
        self.due.take_if(|due| *due <= now).is_some()
    }

    /// Something new was mapped: what is not there yet is looked for after short pauses again.
    pub(super) fn begin_anew(&mut self) {
        self.pause = LATER_FIRST;
    }

    /// Something is not there yet.
    pub(super) fn later(&mut self, now: BootNanos) {
        self.due = Some(BootNanos(now.0.saturating_add(self.pause)));
        self.pause = (2 * self.pause).min(LATER_LAST);
    }

    /// All is there.
    pub(super) fn settled(&mut self) {
        self.due = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{LATER_FIRST, LATER_LAST, Looks};
    use crate::{
        targets::why::Why,
        time::{BootNanos, MILLISECOND},
    };

    /// A process that takes long to look at cannot have it looked at all the time; what is planned is looked at.
    #[test]
    fn long_looks_are_followed_by_a_rest() {
        let why = [Why::Imports, Why::Misfit, Why::NewMisfit, Why::NotYet];
        let may_look = |took: u64, after: u64| {
            why.map(|why| {
                let mut looks = Looks::default();
                let now = BootNanos(1_000 * MILLISECOND);
                looks.took(Duration::from_millis(took), now);
                looks.may_look(why, BootNanos(now.0 + after * MILLISECOND))
            })
        };
        assert_eq!(may_look(10, 1), [true; 4]);
        assert_eq!(may_look(50, 999), [false, false, false, true]);
        assert_eq!(may_look(50, 1_000), [true; 4]);
    }

    /// What is not there yet is looked for until it is, after pauses that double up to the longest: no look of the
    /// series is left out because the one before was just now. After something new was mapped they are short again.
    #[test]
    fn a_series_of_looks_does_not_break_off() {
        let mut looks = Looks::default();
        let mut now = BootNanos(1);
        let mut pauses = Vec::new();
        looks.later(now);
        for _ in 0..12 {
            let due = looks.due().unwrap();
            pauses.push(due.0 - now.0);
            now = due;
            assert!(looks.take_due(now) && looks.may_look(Why::NotYet, now));
            looks.later(now);
        }
        assert_eq!(pauses[..3], [1, 2, 4].map(|it| it * LATER_FIRST));
        assert_eq!(pauses[11], LATER_LAST);
        looks.begin_anew();
        looks.later(now);
        assert_eq!(looks.due().unwrap().0 - now.0, LATER_FIRST);
    }
}

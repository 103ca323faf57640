//! When to look at the files of a process: soon after something new was mapped, and less and less often
//! if that happens again and again.

use crate::time::{BootNanos, MILLISECOND, SECOND};

/// When to look after an exec, if the kernel does not report mappings, in milliseconds: `libpython` is there
/// only after the dynamic loader, the hook only after the application has imported it.
const SCHEDULE: [u64; 8] = [5, 20, 60, 200, 500, 1000, 2000, 5000];
/// A look follows what is new by this much: files are mapped several at once.
const SOON: u64 = 2 * MILLISECOND;
/// The least time between two looks at a process that maps new files again and again; doubled with
/// each, up to the last.
const PAUSE_FIRST: u64 = 20 * MILLISECOND;
const PAUSE_LAST: u64 = 2 * SECOND;
/// A process that maps nothing new for this long starts over.
const QUIET: u64 = 5 * SECOND;

/// When to look at a process's files.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Due {
    next: Option<BootNanos>,
    /// When it was looked at last, and what to wait before the next look.
    looked: BootNanos,
    pause: u64,
    /// If the kernel does not report mappings: since when, and how many looks there were.
    since: Option<(BootNanos, usize)>,
}

impl Due {
    /// When, if at all.
    pub(super) fn at(&self) -> Option<BootNanos> {
        self.next
    }

    /// Something new was mapped.
    pub(super) fn soon(&mut self, now: BootNanos) {
        if now.since(self.looked).as_nanos() > u128::from(QUIET) {
            self.pause = 0;
        }
        let earliest = self.looked.0.saturating_add(self.pause);
        let due = BootNanos(now.0.saturating_add(SOON).max(earliest));
        self.next = Some(self.next.map_or(due, |next| next.min(due)));
    }

    /// Looks by the clock from now on.
    pub(super) fn by_schedule(&mut self, now: BootNanos) {
        self.since = Some((now, 0));
        self.schedule();
    }

    fn schedule(&mut self) {
        if let Some((since, looks)) = &mut self.since {
            let delay = SCHEDULE.get(*looks).copied();
            self.next = delay.map(|it| BootNanos(since.0.saturating_add(it * MILLISECOND)));
            *looks += 1;
        }
    }

    /// A look is taken.
    pub(super) fn done(&mut self, now: BootNanos) {
        self.next = None;
        self.looked = now;
        self.pause = (2 * self.pause).clamp(PAUSE_FIRST, PAUSE_LAST);
        self.schedule();
    }
}

#[cfg(test)]
mod tests {
    use super::{Due, QUIET};
    use crate::time::{BootNanos, MILLISECOND, SECOND};

    /// Looks in ten seconds at a process that maps something new every millisecond.
    fn looks(due: &mut Due, from: u64) -> usize {
        let mut looks = 0;
        for now in (from..from + 10 * SECOND).step_by(usize::try_from(MILLISECOND).unwrap()) {
            due.soon(BootNanos(now));
            if due.at().is_some_and(|due| due.0 <= now) {
                due.done(BootNanos(now));
                looks += 1;
            }
        }
        looks
    }

    /// The first look comes at once, the next ones less and less often; a process that was quiet starts over.
    #[test]
    fn frequent_mappings_are_looked_at_less() {
        let mut due = Due::default();
        due.soon(BootNanos(SECOND));
        assert_eq!(due.at(), Some(BootNanos(SECOND + 2 * MILLISECOND)));
        let many = looks(&mut due, 2 * SECOND);
        assert!((8..16).contains(&many), "{many}");
        let later = 13 * SECOND + QUIET;
        due.done(BootNanos(12 * SECOND));
        due.soon(BootNanos(later));
        assert_eq!(due.at(), Some(BootNanos(later + 2 * MILLISECOND)));
    }
}

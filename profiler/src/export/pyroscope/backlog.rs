//! What the log says of profiles that wait: at once if something fails, then once a minute in one line. Pure: time
//! comes as argument.

use std::time::Duration;

use super::queue::Summary;
use crate::time::BootNanos;

/// The shortest time between two lines.
const EVERY: Duration = Duration::from_secs(60);

/// What was logged, and when.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    told: Option<BootNanos>,
    failure: Option<String>,
    /// Whether something was stored after that failure.
    has_stored_since: bool,
}

/// Something to log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Something waits, or fails.
    Waits(String),
    /// Nothing waits or fails any more.
    Over(String),
}

impl Backlog {
    /// Something has failed.
    pub(super) fn failed(&mut self, reason: &str) {
        self.failure = Some(reason.to_owned());
        self.has_stored_since = false;
    }

    /// Something was stored.
    pub(super) fn stored(&mut self) {
        self.has_stored_since = true;
    }

    /// Whether nothing is to be logged now, whatever waits.
    pub(super) fn is_quiet(&self, now: BootNanos) -> bool {
        self.told.is_some_and(|told| now.since(told) < EVERY)
    }

    /// Whether there is no line whose end is still to be logged.
    pub(super) fn is_over(&self) -> bool {
        self.told.is_none()
    }

    /// What to log now, if anything.
    pub(super) fn line(
        &mut self,
        summary: &Summary,
        in_flight: usize,
        now: BootNanos,
    ) -> Option<Line> {
        if self.is_quiet(now) {
            return None;
        }
        let waits = summary.backlog > 0 || (self.failure.is_some() && summary.profiles > 0);
        if waits {
            self.told = Some(now);
            return Some(Line::Waits(self.words(summary)));
        }
        if in_flight > 0 || summary.profiles > 0 {
            return None;
        }
        self.failure = None;
        let was_told = self.told.take().is_some();
        was_told.then(|| Line::Over("all profiles that waited have been pushed".to_owned()))
    }

    fn words(&self, summary: &Summary) -> String {
        let Summary {
            profiles,
            services,
            bytes,
            room,
            oldest,
            ..
        } = *summary;
        let oldest = humantime::format_duration(Duration::from_secs(oldest.as_secs()));
        let bytes = mebibytes(bytes);
        let room = mebibytes(room);
        let reason = match &self.failure {
            Some(reason) if self.has_stored_since => {
                format!("; pushes succeed again, the last that failed: {reason}")
            }
            Some(reason) => format!("; the last push failed: {reason}"),
            None => "; the server takes less than there is".to_owned(),
        };
        let (profiles, services) = (count(profiles, "profile"), count(services, "service"));
        format!(
            "{profiles} of {services} wait to be pushed, the oldest for {oldest}, in {bytes} of {room} MiB{reason}"
        )
    }
}

fn count(number: usize, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {what}{ending}")
}

/// To a tenth, rounded up.
fn mebibytes(bytes: usize) -> String {
    let tenths = bytes.saturating_mul(10).div_ceil(1024 * 1024);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Backlog, Line};
    use crate::{
        export::pyroscope::queue::Summary,
        time::{BootNanos, SECOND},
    };

    fn at(seconds: u64) -> BootNanos {
        BootNanos(seconds * SECOND)
    }

    /// A failure is logged at once, then once a minute how much waits; when nothing waits any more, that is logged
    /// once.
    #[test]
    fn once_a_minute() {
        let waiting = Summary {
            profiles: 12,
            backlog: 5,
            services: 3,
            bytes: 1_600_000,
            room: 32 * 1024 * 1024,
            oldest: Duration::from_secs(139),
        };
        let mut backlog = Backlog::default();
        assert_eq!(backlog.line(&Summary::default(), 0, at(1)), None);
        backlog.failed("no route to host");
        let expected = "12 profiles of 3 services wait to be pushed, the oldest for 2m 19s, in 1.6 of 32.0 MiB; \
                        the last push failed: no route to host";
        let line = backlog.line(&waiting, 0, at(2));
        assert_eq!(line, Some(Line::Waits(expected.to_owned())));
        for second in 3..62 {
            backlog.failed("no route to host");
            assert_eq!(backlog.line(&waiting, 0, at(second)), None);
        }
        assert!(matches!(
            backlog.line(&waiting, 0, at(62)),
            Some(Line::Waits(_))
        ));
        // The log also says that the server is back, while the rest is sent.
        backlog.stored();
        let Some(Line::Waits(line)) = backlog.line(&waiting, 1, at(122)) else {
            panic!("nothing is told");
        };
        assert!(line.ends_with("succeed again, the last that failed: no route to host"));
        assert_eq!(backlog.line(&Summary::default(), 1, at(200)), None);
        let line = backlog.line(&Summary::default(), 0, at(201));
        assert!(matches!(line, Some(Line::Over(_))));
        assert_eq!(backlog.line(&Summary::default(), 0, at(202)), None);
    }
}

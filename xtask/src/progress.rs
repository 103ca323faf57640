//! The progress of a command that has several parts.

use std::time::{Duration, Instant};

use crate::command::say;

/// Counts the parts of a command and announces each: its number, the total, and the time so far.
#[derive(Debug)]
pub(crate) struct Progress {
    parts: usize,
    begun: usize,
    start: Instant,
}

impl Progress {
    pub(crate) fn new(parts: usize) -> Self {
        Self {
            parts,
            begun: 0,
            start: Instant::now(),
        }
    }

    /// Announces the next part.
    pub(crate) fn part(&mut self, what: &str) {
        self.begun += 1;
        say(&format!(
            "[{}/{}, {}] {what}",
            self.begun,
            self.parts,
            clock(self.start.elapsed())
        ));
    }

    /// The time so far.
    pub(crate) fn so_far(&self) -> String {
        clock(self.start.elapsed())
    }
}

/// Minutes and seconds.
fn clock(duration: Duration) -> String {
    let seconds = duration.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::clock;

    /// Minutes are not wrapped at an hour.
    #[test]
    fn clocks() {
        assert_eq!(clock(Duration::from_secs(9)), "0:09");
        assert_eq!(clock(Duration::from_secs(3_671)), "61:11");
    }
}

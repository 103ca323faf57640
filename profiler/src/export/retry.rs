//! Whether and when a push is tried again. Pure: time and chance come as arguments.

use std::time::Duration;

/// What came of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server has it.
    Stored,
    /// The server does not have it, and may take it later.
    Later {
        /// How long the server asks to wait.
        after: Option<Duration>,
        /// What happened, for the log.
        reason: String,
    },
    /// Nobody knows whether the server has it: the answer was lost.
    Unknown {
        /// What happened, for the log.
        reason: String,
    },
    /// The server will never take it.
    Refused {
        /// The server's words, for the log.
        reason: String,
    },
}

/// How long and how often to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Longest first wait; doubled with each attempt.
    pub first: Duration,
    /// Longest wait.
    pub longest: Duration,
    /// Attempts in all.
    pub attempts: u32,
    /// Age (now less the start of its window) from which a profile is dropped: Pyroscope refuses what
    /// began over an hour ago.
    pub oldest: Duration,
}

impl Default for Policy {
    /// What Grafana Alloy does towards Pyroscope, and ten minutes' distance from the server's hour.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            longest: Duration::from_mins(5),
            attempts: 10,
            oldest: Duration::from_mins(50),
        }
    }
}

impl Policy {
    /// How long to wait after the `attempt`-th failure (from 1), or `None` to give up. `chance` is
    /// uniform in 0..1: full jitter, so that agents of a whole cluster do not come back at once.
    pub fn wait(&self, attempt: u32, after: Option<Duration>, chance: f64) -> Option<Duration> {
        if attempt >= self.attempts {
            return None;
        }
        let doublings = attempt.saturating_sub(1).min(20);
        let most = self.first.saturating_mul(1 << doublings).min(self.longest);
        let jittered = most.mul_f64(chance.clamp(0.0, 1.0));
        // What the server asks for is a least; chance comes on top, and its word is bounded too.
        Some(after.map_or(jittered, |after| after.min(self.longest) + jittered))
    }

    /// Whether a profile of this age would be refused.
    pub fn too_old(&self, age: Duration) -> bool {
        age >= self.oldest
    }
}

/// The outcome an HTTP answer stands for: 429, 408 and 5xx may pass, any other 4xx never will.
/// `retry_after` is the header's value; dates are not understood and left out.
pub fn classify(status: u16, retry_after: Option<&str>, body: &str) -> Outcome {
    let reason = format!("{status} {}", words(body));
    let after = retry_after
        .and_then(|text| text.trim().parse().ok())
        .map(Duration::from_secs);
    match status {
        200..=299 => Outcome::Stored,
        408 | 429 | 500..=599 => Outcome::Later { after, reason },
        _ => Outcome::Refused { reason },
    }
}

/// The server's words, fit for one line of a log.
fn words(body: &str) -> String {
    const MOST: usize = 500;
    let words: String = body
        .chars()
        .take(MOST)
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect();
    words.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Outcome, Policy, classify};

    /// Waits double up to the longest, a server's word is a least, and the last attempt is the last.
    #[test]
    fn waits() {
        let policy = Policy::default();
        let wait = |attempt, after| policy.wait(attempt, after, 1.0);
        assert_eq!(wait(1, None), Some(Duration::from_millis(500)));
        assert_eq!(wait(3, None), Some(Duration::from_secs(2)));
        assert_eq!(policy.wait(3, None, 0.0), Some(Duration::ZERO));
        assert_eq!(wait(9, None), Some(Duration::from_secs(128)));
        assert_eq!(wait(10, None), None);
        let asked = Some(Duration::from_secs(7));
        assert_eq!(policy.wait(1, asked, 0.0), asked);
        let absurd = Some(Duration::from_secs(u64::MAX));
        assert_eq!(policy.wait(1, absurd, 0.0), Some(policy.longest));
    }

    /// Every status is stored, tried again or refused as the server means it.
    #[test]
    fn statuses() {
        let kind = |status| match classify(status, Some("3"), "a\nb") {
            Outcome::Stored => "stored",
            Outcome::Later { after, .. } if after == Some(Duration::from_secs(3)) => "later",
            Outcome::Refused { reason } if reason.ends_with(" a b") => "refused",
            _ => "wrong",
        };
        for status in [429, 408, 500, 502, 503, 504] {
            assert_eq!(kind(status), "later", "{status}");
        }
        for status in [301, 400, 401, 403, 404, 413, 415, 422, 499] {
            assert_eq!(kind(status), "refused", "{status}");
        }
        assert_eq!(kind(200), "stored");
    }
}

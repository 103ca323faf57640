//! What an answer means, and when a push is tried again. Pure: time and chance come as arguments.

use std::time::Duration;

use crate::health::Loss;

/// What came of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The server has it.
    Stored,
    /// The server does not have it, for a reason that is not in what was pushed: it cannot be reached, is not a
    /// Pyroscope, or does not accept our credentials.
    Unavailable {
        /// What happened, for people.
        reason: String,
    },
    /// It was too much at once: a part may be stored.
    TooMuch {
        /// How long the server asks to wait.
        after: Option<Duration>,
        /// The server's words.
        reason: String,
    },
    /// The server has failed, perhaps at one of the profiles: others may be stored.
    Failed {
        /// How long the server asks to wait.
        after: Option<Duration>,
        /// The server's words.
        reason: String,
    },
    /// The server may or may not have it: the answer was lost.
    Unknown {
        /// What happened, for people.
        reason: String,
    },
    /// The server will never take one of the profiles; others may be stored.
    Refused {
        /// The server's words.
        reason: String,
    },
}

impl Outcome {
    /// The loss that a request with this outcome counts as.
    pub fn counts_as(&self) -> Loss {
        match self {
            Self::Stored => Loss::PushStored,
            Self::Unavailable { .. } => Loss::PushUnavailable,
            Self::TooMuch { .. } => Loss::PushTooMuch,
            Self::Failed { .. } => Loss::PushFailed,
            Self::Unknown { .. } => Loss::PushUnanswered,
            Self::Refused { .. } => Loss::PushRefused,
        }
    }
}

/// How long and how often to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Longest first wait; doubled with each attempt.
    pub first: Duration,
    /// Longest wait of a profile that fails by itself.
    pub longest: Duration,
    /// The longest pause in which nothing is sent: the longest wait after an outage ends.
    pub longest_pause: Duration,
    /// Age (now less the start of its window) from which a profile is dropped: Pyroscope refuses what
    /// began over an hour ago.
    pub oldest: Duration,
}

impl Default for Policy {
    /// The waits are those of Grafana Alloy for a Pyroscope; but the limit is an age, ten minutes below the server's
    /// hour, and not a number of attempts.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            longest: Duration::from_mins(5),
            longest_pause: Duration::from_secs(30),
            oldest: Duration::from_mins(50),
        }
    }
}

impl Policy {
    /// How long to wait after the `attempt`-th failure (from 1). `chance` is uniform in 0..1: full jitter, so
    /// that agents of a whole cluster do not come back at once.
    pub fn wait(&self, attempt: u32, after: Option<Duration>, chance: f64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(20);
        let most = self.first.saturating_mul(1 << doublings).min(self.longest);
        let jittered = most.mul_f64(chance.clamp(0.0, 1.0));
        // What the server asks for is a minimum; chance comes on top, and the server's value is bounded, too.
        after.map_or(jittered, |after| after.min(self.longest) + jittered)
    }
}

/// The parts of an answer that say what became of a push.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// How long the server asks to wait.
    pub retry_after: Option<Duration>,
    /// Where a redirect points.
    pub location: Option<String>,
    /// Whether the body is a web page.
    pub is_page: bool,
    /// The start of the body, if the status is not 200.
    pub body: String,
}

/// The outcome an HTTP answer stands for.
///
/// Errors about the agent or the address (redirects, credentials, a wrong path, a web page) may be fixed while the
/// profiles wait. A Pyroscope never answers with a web page: a gateway in front of it does, and a gateway knows nothing
/// of profiles but their size. 429 is about the rate, unless it says otherwise: a v1 Pyroscope answers it also for a
/// series beyond the tenant's 5,000. 408 and 5xx may pass. Any other 4xx never will.
pub fn classify(answer: &Answer) -> Outcome {
    let reason = reason(answer);
    let after = answer.retry_after;
    match answer.status {
        200..=299 if answer.is_page => Outcome::Unavailable {
            reason: "the answer is a web page: this is no Pyroscope".to_owned(),
        },
        200..=299 => Outcome::Stored,
        300..=399 | 401 | 403 | 404 | 405 | 407 => Outcome::Unavailable { reason },
        429 if answer.body.contains("series limit") => Outcome::Failed { after, reason },
        429 => Outcome::TooMuch { after, reason },
        408 | 500.. => Outcome::Failed { after, reason },
        400..=499 if answer.is_page && answer.status != 413 => Outcome::Unavailable {
            reason: format!("{reason}: the answer is a web page, which no Pyroscope sends"),
        },
        _ => Outcome::Refused { reason },
    }
}

fn reason(answer: &Answer) -> String {
    let status = answer.status;
    match (&answer.location, status) {
        (Some(location), _) => format!(
            "{status}: the server is said to be at {}: give that address",
            words(location)
        ),
        (None, 401 | 403) => format!(
            "{status} {}: the server does not accept the tenant, password or token",
            words(&answer.body)
        ),
        (None, 404 | 405) => format!(
            "{status} {}: nothing takes pushes there",
            words(&answer.body)
        ),
        (None, 407) => "407: the proxy asks for a user and password".to_owned(),
        _ => format!("{status} {}", words(&answer.body))
            .trim_end()
            .to_owned(),
    }
}

/// The wait that a `Retry-After` asks for: seconds or a date; `now` is the current time in seconds since 1970. A date
/// in the past asks for none.
pub fn retry_after(value: &str, now: u64) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    let date = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(date.saturating_sub(Duration::from_secs(now)))
}

/// A server's words, fit for one line of a log: Connect's errors are JSON with a message.
fn words(body: &str) -> String {
    const MOST: usize = 500;
    let json: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let message = json.as_ref().and_then(|json| json.get("message")?.as_str());
    let words: String = message
        .unwrap_or(body)
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

    use super::{Answer, Outcome, Policy, classify, retry_after};

    /// Waits double up to the longest, and the server's value is a minimum.
    #[test]
    fn waits() {
        let policy = Policy::default();
        let wait = |attempt, after| policy.wait(attempt, after, 1.0);
        assert_eq!(wait(1, None), Duration::from_millis(500));
        assert_eq!(wait(3, None), Duration::from_secs(2));
        assert_eq!(policy.wait(3, None, 0.0), Duration::ZERO);
        assert_eq!(wait(9, None), Duration::from_secs(128));
        assert_eq!(wait(1_000, None), policy.longest);
        let asked = Duration::from_secs(7);
        assert_eq!(policy.wait(1, Some(asked), 0.0), asked);
        let absurd = Some(Duration::from_secs(u64::MAX));
        assert_eq!(policy.wait(1, absurd, 0.0), policy.longest);
    }

    fn answer(status: u16, body: &str) -> Outcome {
        classify(&Answer {
            status,
            retry_after: Some(Duration::from_secs(3)),
            body: body.to_owned(),
            ..Answer::default()
        })
    }

    /// Every status is stored, tried again or refused as the server means it.
    #[test]
    fn statuses() {
        assert_eq!(answer(200, ""), Outcome::Stored);
        for status in [408, 500, 501, 502, 503, 504] {
            let Outcome::Failed { after, reason } = answer(status, "a\nb") else {
                panic!("{status}");
            };
            assert_eq!(after, Some(Duration::from_secs(3)));
            assert_eq!(reason, format!("{status} a b"));
        }
        for status in [301, 307, 401, 403, 404, 405, 407] {
            let outcome = answer(status, "");
            assert!(matches!(outcome, Outcome::Unavailable { .. }), "{status}");
        }
        for status in [400, 413, 415, 422, 499] {
            let outcome = answer(status, r#"{"code":"x","message":"no good"}"#);
            let reason = format!("{status} no good");
            assert_eq!(outcome, Outcome::Refused { reason });
        }
        let rate = answer(
            429,
            "push rate limit (4.0 MiB) exceeded while adding 2.1 MiB",
        );
        assert!(matches!(rate, Outcome::TooMuch { .. }));
        let series = answer(429, "Maximum active series limit exceeded (5000/5000)");
        assert!(matches!(series, Outcome::Failed { .. }));
    }

    /// The reason contains a redirect's address, and a web page is no answer.
    #[test]
    fn not_a_pyroscope() {
        let moved = classify(&Answer {
            status: 308,
            location: Some("https://b.example/".to_owned()),
            ..Answer::default()
        });
        let Outcome::Unavailable { reason } = moved else {
            panic!("{moved:?}");
        };
        assert!(reason.contains("https://b.example/"), "{reason}");
        let page = classify(&Answer {
            status: 200,
            is_page: true,
            ..Answer::default()
        });
        assert!(matches!(page, Outcome::Unavailable { .. }));
        // A gateway's page says nothing of a profile: as nginx answers to http:// on its port for https://.
        for (status, is_refused) in [(400, false), (451, false), (413, true)] {
            let page = classify(&Answer {
                status,
                is_page: true,
                body: "<html>".to_owned(),
                ..Answer::default()
            });
            let refused = matches!(page, Outcome::Refused { .. });
            assert_eq!(refused, is_refused, "{page:?}");
            assert!(is_refused || matches!(page, Outcome::Unavailable { .. }));
        }
    }

    /// Seconds and dates, also one in the past; any other value is ignored.
    #[test]
    fn retry_after_is_read() {
        let now = 784_111_777;
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(retry_after(" 7", 0), Some(Duration::from_secs(7)));
        assert_eq!(retry_after(date, now - 5), Some(Duration::from_secs(5)));
        assert_eq!(retry_after(date, now + 5), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }
}

//! Profiles over a server's limits → several within, none losing a sample.

use super::{Profile, Row, pprof};
use crate::{
    health::{Health, Loss},
    time::UnixNanos,
};

/// What a server takes in one profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the uncompressed message.
    pub bytes: usize,
    /// Samples (rows) of the message.
    pub samples: usize,
}

impl Limits {
    /// Pyroscope's defaults. The size is its burst limit of 2 MiB, charged with the uncompressed
    /// profile and the labels of its series in one go (a larger one is refused with 429 for ever),
    /// less what the labels may take.
    pub const PYROSCOPE: Self = Self {
        bytes: 2 * 1024 * 1024 - 128 * 1024,
        samples: 16_000,
    };
}

/// How far apart the times of two parts are: a Pyroscope keeps one profile per series and whole
/// millisecond (storage v1) or nanosecond (v2), and throws a twin away after it has said 200.
const APART: u64 = 1_000_000;

/// The profile as uncompressed pprof messages, each within the limits and with a time of its own. A
/// single row that is too large is left out and counted.
pub fn split(profile: &Profile, limits: Limits, health: &Health) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    // A stack instead of a recursion; the first half on top keeps the order of rows.
    let mut waiting: Vec<&[Row]> = vec![&profile.rows];
    while let Some(rows) = waiting.pop() {
        if rows.is_empty() {
            continue;
        }
        if rows.len() <= limits.samples {
            let bytes = pprof::encode_rows(profile, rows, time(profile, parts.len()));
            if bytes.len() <= limits.bytes {
                parts.push(bytes);
                continue;
            }
        }
        if rows.len() == 1 {
            health.count(Loss::ProfileTooLarge);
            continue;
        }
        let (first, second) = rows.split_at(rows.len() / 2);
        waiting.extend([second, first]);
    }
    parts
}

/// When a part begins, by its number: inside the window as long as that has a millisecond for each part.
fn time(profile: &Profile, number: usize) -> UnixNanos {
    let number = u64::try_from(number).unwrap_or(u64::MAX);
    let start = profile.window.start.0;
    UnixNanos(start.saturating_add(number.saturating_mul(APART)))
}

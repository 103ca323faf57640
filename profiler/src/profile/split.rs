//! A profile over a destination's limits → several within them; no sample is lost.

use super::{Projected, ProjectedRow, pprof};
use crate::{
    health::{Health, Loss},
    time::UnixNanos,
};

/// What a destination takes in one profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the uncompressed message.
    pub bytes: usize,
    /// Samples (rows) of the message.
    pub samples: usize,
    /// Nanoseconds by which the times of two parts must differ, for the destination to keep both.
    pub apart: u64,
}

/// The profile as uncompressed pprof messages, each within the limits and with a different time. A single row that is
/// too large is left out and counted.
pub fn split(profile: &Projected, limits: Limits, health: &Health) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    // A stack instead of a recursion; the first half on top preserves the order of rows.
    let mut waiting: Vec<&[ProjectedRow]> = vec![&profile.rows];
    while let Some(rows) = waiting.pop() {
        if rows.is_empty() {
            continue;
        }
        if rows.len() <= limits.samples {
            let bytes = pprof::encode_rows(profile, rows, time(profile, limits, parts.len()));
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

/// The start of a part, by its number: inside the window as long as the window has room for it.
fn time(profile: &Projected, limits: Limits, number: usize) -> UnixNanos {
    let number = u64::try_from(number).unwrap_or(u64::MAX);
    let start = profile.window.start.0;
    UnixNanos(start.saturating_add(number.saturating_mul(limits.apart)))
}

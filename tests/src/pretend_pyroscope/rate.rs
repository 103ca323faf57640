//! How many bytes a second the server takes of a tenant: `distributor.ingestion-rate-limit-mb` (4) and
//! `distributor.ingestion-burst-size-mb` (2) of grafana/pyroscope, each of 1 048 576 bytes.

#![expect(
    clippy::cast_precision_loss,
    reason = "sizes of pushes are far below 2⁵³"
)]

use std::time::Instant;

use profiler::time::monotonic_now;

use super::{refusal::Refusal, rules::MEBIBYTE};

const RATE: f64 = 4.0 * MEBIBYTE as f64;
const BURST: f64 = 2.0 * MEBIBYTE as f64;

/// Bytes that may come at this moment.
#[derive(Debug)]
pub(super) struct Rate {
    bytes: f64,
    at: Instant,
    /// Whether what was taken comes back with time only, and not at once.
    is_limited: bool,
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            bytes: BURST,
            at: monotonic_now(),
            is_limited: false,
        }
    }
}

impl Rate {
    /// From now on time is counted.
    pub(super) fn limit(&mut self) {
        self.is_limited = true;
    }

    /// Takes that many bytes, or refuses them and takes none.
    pub(super) fn take(&mut self, size: usize) -> Result<(), Refusal> {
        if !self.is_limited {
            self.bytes = BURST;
        }
        let now = monotonic_now();
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.bytes = BURST.min(self.bytes + RATE * since);
        self.at = now;
        let wanted = size as f64;
        if wanted > self.bytes {
            return Err(Refusal::exhausted(format!(
                "push rate limit (4.0 MiB) exceeded while adding {}",
                humane(wanted)
            )));
        }
        self.bytes -= wanted;
        Ok(())
    }
}

/// A size as the server writes it.
fn humane(bytes: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB"];
    let fits = |power: &i32| bytes < 1024_f64.powi(power + 1);
    let power = (0..3).find(fits).unwrap_or(3);
    let unit = usize::try_from(power).ok().and_then(|it| units.get(it));
    let size = bytes / 1024_f64.powi(power);
    let digits = usize::from(power > 0 && size < 10.0);
    format!("{size:.digits$} {}", unit.unwrap_or(&"B"))
}

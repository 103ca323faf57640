//! How fast pushes go: a rate, a size and a number of requests, all of which are reduced if the server says that it is
//! too much. Pure: time and chance come as arguments.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::retry::Policy;
use crate::time::BootNanos;

/// The least that the bytes of a request or of a second are reduced to.
const LEAST_BYTES: usize = 64 * 1024;
/// How much later than another a request may arrive that was sent at the same time. The server's allowance refills only
/// from the arrival: an agent that counted from the sending would be ahead of the server.
const DELAY: Duration = Duration::from_millis(200);
/// Failures in a row, or times in a row that it was too much, after which one success means that the server is back.
const OUTAGE: u32 = 3;

/// What pushes may take of a server and of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request, as the server charges them: profiles before compression, with their labels. A
    /// profile that is larger goes alone.
    pub request_bytes: usize,
    /// Requests at a time, and so connections.
    pub requests: usize,
    /// Bytes a second, charged likewise.
    pub bytes_a_second: usize,
    /// Bytes that may go at once after a pause, charged likewise.
    pub burst_bytes: usize,
}

impl Default for Limits {
    /// The rate is what a Pyroscope takes of a tenant by default (grafana/pyroscope,
    /// `distributor.ingestion-rate-limit-mb`, of 1 048 576 bytes each). It takes 2 MiB at once
    /// (`distributor.ingestion-burst-size-mb`): less leaves room for requests that come closer together than they
    /// were sent.
    fn default() -> Self {
        Self {
            request_bytes: 1024 * 1024,
            requests: 4,
            bytes_a_second: 4 * 1024 * 1024,
            burst_bytes: 1536 * 1024,
        }
    }
}

/// The current pace.
#[derive(Debug)]
pub(super) struct Pace {
    most: Limits,
    now: Limits,
    policy: Policy,
    /// Bytes that may go, as of `counted`, which may be in the future.
    allowance: f64,
    counted: BootNanos,
    /// Failures in a row, of whichever request.
    failures: u32,
    /// Times in a row that the server said it was too much.
    throttled: u32,
    paused_until: BootNanos,
    /// Failures in a row of profiles that go alone.
    alone_failures: u32,
    alone_paused_until: BootNanos,
}

impl Pace {
    pub(super) fn new(most: Limits, policy: Policy, now: BootNanos) -> Self {
        Self {
            most,
            now: most,
            policy,
            allowance: float(most.burst_bytes),
            counted: now,
            failures: 0,
            throttled: 0,
            paused_until: now,
            alone_failures: 0,
            alone_paused_until: now,
        }
    }

    /// Bytes of a request.
    pub(super) fn request_bytes(&self) -> usize {
        self.now.request_bytes
    }

    /// Requests that may be on their way. While the last one has failed, a few probe whether the server is back: one
    /// with what comes in, and one with what has waited.
    pub(super) fn requests(&self) -> usize {
        if self.failures == 0 {
            self.now.requests
        } else {
            self.now.requests.min(2)
        }
    }

    /// Whether the last request has failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Bytes that may go now: any number once the allowance is as large as it can become.
    pub(super) fn allowance(&mut self, now: BootNanos) -> usize {
        match self.allowed(now) {
            bytes if bytes >= self.most.burst_bytes => usize::MAX,
            bytes => bytes,
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and the burst"
    )]
    fn allowed(&mut self, now: BootNanos) -> usize {
        let since = now.since(self.counted).as_secs_f64();
        let more = float(self.now.bytes_a_second) * since;
        self.allowance = (self.allowance + more).min(float(self.most.burst_bytes));
        self.counted = self.counted.max(now);
        self.allowance.max(0.0) as usize
    }

    /// When this many bytes may go.
    pub(super) fn when(&mut self, bytes: usize, now: BootNanos) -> BootNanos {
        let missing = bytes
            .min(self.most.burst_bytes)
            .saturating_sub(self.allowance(now));
        let seconds = float(missing) / float(self.now.bytes_a_second.max(1));
        let wait = Duration::from_secs_f64(seconds) + Duration::from_millis(1);
        if missing == 0 {
            return self.paused_until.max(now);
        }
        let from = self.counted.max(now);
        from.after(wait).max(self.paused_until)
    }

    /// Whether sending is paused.
    pub(super) fn is_paused(&self, now: BootNanos) -> bool {
        now < self.paused_until
    }

    /// A request with this many bytes goes.
    pub(super) fn spend(&mut self, bytes: usize, now: BootNanos) {
        if self.allowance(now) >= self.most.burst_bytes {
            self.counted = now.after(DELAY);
        }
        self.allowance -= float(bytes);
    }

    /// A request was stored. Returns whether that ends an outage.
    pub(super) fn stored(&mut self) -> bool {
        // If only profiles that go alone fail, it is no outage.
        let failures = match self.failures {
            0 => 0,
            failures => failures.saturating_add(self.alone_failures),
        };
        let ends_outage = failures.max(self.throttled) >= OUTAGE;
        self.failures = 0;
        self.alone_failures = 0;
        self.throttled = 0;
        let step = |now: usize, most: usize| now.saturating_add(now / 16 + 1).min(most);
        let Limits {
            request_bytes,
            requests,
            bytes_a_second,
            ..
        } = self.most;
        self.now.request_bytes = step(self.now.request_bytes, request_bytes);
        self.now.bytes_a_second = step(self.now.bytes_a_second, bytes_a_second);
        self.now.requests = step(self.now.requests, requests);
        ends_outage
    }

    /// The server said that it was too much, and perhaps when to come again: less from now on, and later.
    pub(super) fn throttled(&mut self, after: Option<Duration>, chance: f64, now: BootNanos) {
        self.throttled = self.throttled.saturating_add(1);
        let halved = |now: usize, most: usize, least: usize| (now / 2).max(least.min(most));
        let most = self.most;
        self.now.request_bytes = halved(self.now.request_bytes, most.request_bytes, LEAST_BYTES);
        self.now.bytes_a_second = halved(self.now.bytes_a_second, most.bytes_a_second, LEAST_BYTES);
        self.now.requests = halved(self.now.requests, most.requests, 1);
        let wait = self.policy.wait(self.throttled, after, chance);
        self.pause_after(wait, after, now);
    }

    /// A request has failed: the next ones wait, longer each time.
    pub(super) fn failed(&mut self, after: Option<Duration>, chance: f64, now: BootNanos) {
        self.failures = self.failures.saturating_add(1);
        let wait = self.policy.wait(self.failures, after, chance);
        self.pause_after(wait, after, now);
    }

    /// A profile has failed that went alone, because one of its service had failed before. This says little about the
    /// server, and delays only profiles that go alone. If others fail, too, the delay grows each time.
    pub(super) fn failed_alone(&mut self, after: Option<Duration>, chance: f64, now: BootNanos) {
        self.alone_failures = self.alone_failures.saturating_add(1);
        let most = match self.failures {
            0 => self.policy.first,
            _ => self.policy.longest_pause,
        };
        let wait = self.policy.wait(self.alone_failures, None, chance);
        let wait = wait.min(most) + after.unwrap_or_default().min(self.policy.longest);
        let until = now.after(wait);
        self.alone_paused_until = self.alone_paused_until.max(until);
    }

    /// When the pause of profiles that go alone ends.
    pub(super) fn alone_paused_until(&self) -> BootNanos {
        self.alone_paused_until
    }

    fn pause_after(&mut self, wait: Duration, after: Option<Duration>, now: BootNanos) {
        let most = self.policy.longest_pause;
        // What the server asks for is a minimum.
        let wait = after.map_or(wait.min(most), |_| wait);
        let until = now.after(wait);
        self.paused_until = self.paused_until.max(until);
    }

    /// Ends any pause; those to come begin with the shortest.
    pub(super) fn hurry(&mut self, now: BootNanos) {
        self.paused_until = now;
        self.alone_paused_until = now;
        self.failures = 0;
        self.alone_failures = 0;
        self.throttled = 0;
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "sizes of pushes are far below 2⁵³"
)]
fn float(bytes: usize) -> f64 {
    bytes as f64
}

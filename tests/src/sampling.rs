//! How many samples a program must have, given the CPU time that it has measured itself.
//!
//! Never the time on the wall, and never a number of rounds: how much CPU time they are depends on the machine and on
//! its other work. Within a period of the sampling clock it is chance whether a thread is hit, so a number of samples
//! deviates by the square root of what is expected at most. Nor is every moment of CPU time sampled: a virtual machine
//! that is not run takes no samples, while the clock of its thread may go on.

use std::fs;

/// By how many standard deviations a right number may deviate: by more in less than one test of a million.
const SIGMAS: f64 = 5.0;
/// The least share of the CPU time that is sampled on any machine that tests are for, if its host takes the rest.
const LEAST_SAMPLED: f64 = 0.6;
/// What `/proc/stat` counts in: `USER_HZ` is 100 on every architecture that the agent knows.
const TICKS_A_SECOND: f64 = 100.0;

/// A moment from which on the time is counted that the host of a virtual machine has taken.
#[derive(Clone, Copy, Debug)]
pub struct Stolen(f64);

impl Stolen {
    /// From now on.
    pub fn from_now() -> Self {
        Self(stolen())
    }

    /// So far, in seconds, of all processors together.
    pub fn seconds(self) -> f64 {
        stolen() - self.0
    }
}

/// Seconds since the start of the machine; 0 if the host does not tell.
fn stolen() -> f64 {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    // The line of all processors: `cpu  USER NICE SYSTEM IDLE IOWAIT IRQ SOFTIRQ STEAL …`.
    let ticks = text.split_whitespace().nth(8);
    let ticks: f64 = ticks.and_then(|it| it.parse().ok()).unwrap_or(0.0);
    ticks / TICKS_A_SECOND
}

/// The fewest samples that `seconds` of CPU time have, at so many samples a second, if the host has taken the time that
/// is `stolen`.
pub fn at_least(seconds: f64, frequency: f64, stolen: f64) -> f64 {
    let sampled = (seconds - stolen).max(LEAST_SAMPLED * seconds);
    let expected = sampled.max(0.0) * frequency;
    expected - SIGMAS * expected.sqrt()
}

/// The most samples that `seconds` of CPU time have, at so many samples a second.
pub fn at_most(seconds: f64, frequency: f64) -> f64 {
    let expected = seconds * frequency;
    expected + SIGMAS * expected.sqrt() + 1.0
}

/// By how much a share may deviate that was found in so many samples, if it is `share` of the CPU time.
pub fn deviation(share: f64, samples: f64) -> f64 {
    SIGMAS * (share * (1.0 - share) / samples).sqrt()
}

#[cfg(test)]
mod tests {
    use super::{at_least, at_most, deviation};

    /// Two standard deviations are chance, and a third that is missing is not; unless the host has taken it.
    #[test]
    fn chance_is_told_from_a_loss() {
        let (least, most) = (at_least(4.0, 250.0, 0.0), at_most(4.0, 250.0));
        assert!(least < 937.0 && most > 1063.0, "{least} to {most}");
        assert!(least > 667.0 && most < 1333.0, "{least} to {most}");
        assert!(at_least(4.0, 250.0, 1.0) < 690.0);
        // However much it has taken, half is too little.
        assert!(at_least(40.0, 250.0, 30.0) > 5_000.0);
    }

    /// A share of all has no chance in it, and one of many samples little.
    #[test]
    fn shares() {
        assert!(deviation(1.0, 10.0) < 1e-9);
        assert!(deviation(0.9, 10_000.0) < 0.02);
    }
}

//! What this process costs, as `/proc` and the kernel's clocks have it.

use std::fs;

use rustix::time::{ClockId, clock_gettime};

/// Bytes of memory that are resident; `None` if `/proc` does not tell.
pub(super) fn resident() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// CPU time of all threads, in seconds.
pub(super) fn cpu_seconds() -> f64 {
    seconds(clock_gettime(ClockId::ProcessCPUTime))
}

/// Open files; `None` if `/proc` does not tell.
pub(super) fn open_files() -> Option<f64> {
    let files = fs::read_dir("/proc/self/fd").ok()?.count();
    // The folder that is read is one of them.
    u32::try_from(files.saturating_sub(1)).ok().map(f64::from)
}

/// When the process started, in seconds since 1970; `None` if `/proc` does not tell.
pub(super) fn start_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The command may hold blanks and brackets: what follows the last one begins with field 3.
    let (_, rest) = text.rsplit_once(')')?;
    let ticks: f64 = rest.split_whitespace().nth(19)?.parse().ok()?;
    #[expect(clippy::cast_precision_loss, reason = "it is 100")]
    let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
    let since_boot = ticks / ticks_per_second;
    let now = seconds(clock_gettime(ClockId::Realtime));
    let boot = now - seconds(clock_gettime(ClockId::Boottime));
    Some(boot + since_boot)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a time that is shown needs no more than 52 bits"
)]
fn seconds(time: rustix::time::Timespec) -> f64 {
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

#[cfg(test)]
mod tests {
    /// Each number is one that a process of tests may have.
    #[test]
    fn of_this_process() {
        let resident = super::resident().unwrap();
        assert!((1e6..1e10).contains(&resident), "{resident}");
        assert!(super::cpu_seconds() > 0.0);
        assert!(super::open_files().unwrap() >= 3.0);
        let started = super::start_seconds().unwrap();
        assert!(started > 1.7e9, "{started}");
    }
}

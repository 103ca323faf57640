//! The machine: its description, its load, and the kernel's statistics of BPF programs.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use xtask::command::say;

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Switches the kernel's run-time statistics on; restores the previous setting when dropped.
pub(crate) struct BpfStatistics {
    before: String,
}

impl BpfStatistics {
    pub(crate) fn switch_on() -> Result<Self> {
        let before = read(SWITCH)?;
        fs::write(SWITCH, "1").with_context(|| format!("failed to write {SWITCH}"))?;
        Ok(Self { before })
    }
}

impl Drop for BpfStatistics {
    fn drop(&mut self) {
        if let Err(error) = fs::write(SWITCH, &self.before) {
            say(&format!("failed to restore {SWITCH}: {error}"));
        }
    }
}

/// Kernel, CPUs and their model, in a line.
pub(crate) fn machine() -> String {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown model", |(_, model)| model.trim());
    let hypervisor = if info.contains(" hypervisor") {
        ", virtual machine"
    } else {
        ""
    };
    format!("Linux {release}, {cpus} CPUs, {model}{hypervisor}")
}

/// CPU time of the whole host, in clock ticks.
pub(crate) struct CpuTimes {
    total: u64,
    idle: u64,
    steal: u64,
}

impl CpuTimes {
    pub(crate) fn read() -> Result<Self> {
        let stat = read("/proc/stat")?;
        let line = stat.lines().next().unwrap_or_default();
        let ticks: Vec<u64> = line
            .split_ascii_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal; guest times are in user's.
        let column = |index: usize| ticks.get(index).copied().unwrap_or(0);
        Ok(Self {
            total: ticks.iter().take(8).sum(),
            idle: column(3) + column(4),
            steal: column(7),
        })
    }

    /// The load of the host since then, for the report.
    pub(crate) fn until_now(&self) -> Result<String> {
        let now = Self::read()?;
        let total = now.total.saturating_sub(self.total).max(1);
        let share = |ticks: u64| 100 * ticks / total;
        Ok(format!(
            "during the run the CPUs were {} % busy with everything on the host, {} % stolen",
            100 - share(now.idle.saturating_sub(self.idle)),
            share(now.steal.saturating_sub(self.steal))
        ))
    }
}

/// CPU time of a process's threads so far, in seconds; the process's schedstat covers only its main thread.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    cpu_seconds_of(pid, |_| true)
}

/// The same for threads with matching names.
pub(crate) fn cpu_seconds_of(pid: u32, is_wanted: impl Fn(&str) -> bool) -> Result<f64> {
    let mut nanoseconds = 0.0;
    let folder = format!("/proc/{pid}/task");
    for entry in fs::read_dir(&folder).with_context(|| format!("failed to list {folder}"))? {
        let thread = entry.context("failed to list threads")?.path();
        // A thread may have ended meanwhile; it is not counted.
        let name = fs::read_to_string(thread.join("comm")).unwrap_or_default();
        if !is_wanted(name.trim_end()) {
            continue;
        }
        let text = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
        let time = text.split_ascii_whitespace().next().unwrap_or_default();
        nanoseconds += time.parse::<f64>().unwrap_or(0.0);
    }
    Ok(nanoseconds / 1e9)
}

/// CPU time of only its main thread.
pub(crate) fn main_thread_cpu_seconds(pid: u32) -> Result<f64> {
    let text = read(format!("/proc/{pid}/schedstat"))?;
    let time = text.split_ascii_whitespace().next().unwrap_or_default();
    Ok(time.parse::<f64>().unwrap_or(0.0) / 1e9)
}

/// Resident and proportional memory of a process, in MiB.
pub(crate) fn memory(pid: u32) -> Result<[f64; 2]> {
    let rollup = read(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.and_then(|line| line.trim().split(' ').next()?.parse().ok());
        kibibytes.unwrap_or(0.0) / 1024.0
    };
    Ok([field("Rss:"), field("Pss:")])
}

/// A file of procfs.
pub(crate) fn read(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

//! How the kernel side is set up, and how much it remembers.

use aya::util::nr_cpus;
use profiler_common::limits::MAX_KNOWN_CODES;

use super::{probes::Route, sampling::SamplingPrograms};
use crate::measure::Measure;

/// How the kernel side is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What a tick of the sampling clock stands for.
    pub tick: Measure,
    /// Bytes of the ring buffer: a power of two, and a multiple of the page size.
    pub ring_size: u32,
    /// How much the maps hold.
    pub limits: Limits,
    /// Python frames that are walked in a sample, if the kernel has loops.
    pub python_depth: u32,
    /// Logs every sample and span through aya-log.
    pub debug: bool,
    /// Counts what each stage of a sample takes.
    pub time_stages: bool,
    /// Which programs take samples; `None`: those that the kernel can run.
    pub programs: Option<SamplingPrograms>,
    /// Ways to put span probes on files, in the order in which they are tried.
    pub probe_routes: Vec<Route>,
}

/// Bytes of the ring buffer: by the CPUs that fill it, so that it holds what comes between two turns of
/// its reader at any frequency. A reader is woken when a quarter is full.
pub fn default_ring_size() -> u32 {
    const EACH: u32 = 256 << 10;
    let cpus = nr_cpus().map_or(1, u32::from);
    let size = EACH.saturating_mul(cpus);
    size.clamp(2 << 20, 16 << 20).next_power_of_two()
}

/// How much is remembered, in the kernel's maps and beside them. What each costs is in `docs/limits.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Python processes.
    pub processes: u32,
    /// Threads whose spans may be remembered.
    pub threads: u32,
    /// Open spans.
    pub spans: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            processes: 4_096,
            threads: 8_192,
            spans: 16_384,
        }
    }
}

/// Code objects that the kernel programs remember having sent, over all processes; besides, each CPU remembers
/// [`MAX_KNOWN_CODES`].
const SENT_CODES: u32 = 32_768;
/// How much more user space remembers than the kernel programs. Both forget what was used longest ago, but use is not
/// the same to both: the kernel's is by what a CPU sees, ours by what reaches us and is not named by its whole stack.
const MARGIN: usize = 2;

/// How much user space must remember so as not to forget before the kernel programs do, which send a thing once and
/// then take it for known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remembered {
    /// Spans: those that are open, and those that samples have found.
    pub spans: usize,
    /// Code objects.
    pub codes: usize,
}

impl Limits {
    /// What user space must remember beside maps of these sizes, on a host with `cpus` CPUs.
    pub fn remembered(self, cpus: usize) -> Remembered {
        let number = |it: u32| usize::try_from(it).unwrap_or(usize::MAX);
        let maps = self.maps();
        let entries = |name| {
            maps.iter()
                .find(|(it, _)| *it == name)
                .map_or(0, |it| number(it.1))
        };
        let codes = entries("CODES").saturating_add(cpus.saturating_mul(MAX_KNOWN_CODES));
        Remembered {
            spans: entries("LIVE_SPANS")
                .saturating_add(entries("SEEN_SPANS"))
                .saturating_mul(MARGIN),
            codes: codes.saturating_mul(MARGIN),
        }
    }

    /// The same on this host.
    pub fn remembered_here(self) -> Remembered {
        self.remembered(nr_cpus().map_or(1, |cpus| usize::try_from(u32::from(cpus)).unwrap_or(1)))
    }

    /// Sizes of the maps that depend on them.
    pub(super) fn maps(self) -> [(&'static str, u32); 7] {
        [
            ("CODES", SENT_CODES),
            ("PROCESSES", self.processes),
            ("SPAN_RECIPES", self.processes),
            ("RESOURCES", self.processes),
            // Most threads are in no span, and a stack is large.
            ("SPAN_STACKS", self.threads.div_ceil(4)),
            ("LIVE_SPANS", self.spans),
            ("SEEN_SPANS", self.spans),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::{Limits, MAX_KNOWN_CODES, SENT_CODES};

    /// Whatever the flags and the host, user space has room for all that the kernel programs can take for known.
    #[test]
    fn user_space_remembers_more() {
        for (spans, cpus) in [(1, 1), (16_384, 2), (65_537, 64), (1_000_000, 512)] {
            let limits = Limits {
                spans,
                ..Limits::default()
            };
            let remembered = limits.remembered(cpus);
            // On one map those that are open, on another those that were found.
            let spans = 2 * usize::try_from(spans).unwrap();
            let codes = usize::try_from(SENT_CODES).unwrap() + cpus * MAX_KNOWN_CODES;
            assert!(remembered.spans >= 2 * spans, "{remembered:?}");
            assert!(remembered.codes >= 2 * codes, "{remembered:?}");
        }
    }
}

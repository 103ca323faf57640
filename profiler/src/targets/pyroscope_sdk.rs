//! `pyroscope-io`, the profiler that a process runs in itself: a server adds up the profiles
//! that it pushes and ours.
//!
//! Loading its library says that it was imported; that it runs, only its threads say. Of those one has a
//! name: that of the client by which it pushes. From release 1 on that thread is there from `configure()` to
//! `shutdown()`, before only while a profile is sent.

use std::collections::HashSet;

use super::{
    facility::{Desk, Facility, Found, Placement, Processes, Why, Word},
    procfs,
    registry::Known,
};
use crate::{
    id::{Pid, Service},
    time::{BootNanos, SECOND},
};

/// What `comm` leaves of `reqwest-internal-sync-runtime`, the thread of reqwest's blocking client.
const THREAD: &str = "reqwest-interna";
/// Threads looked at in one process.
const MAX_THREADS: usize = 4096;
/// A process that has loaded the library is looked at again after this long, and then twice as long up to the
/// last, in nanoseconds.
const LOOK_FIRST: u64 = SECOND;
const LOOK_LAST: u64 = 16 * SECOND;
/// Services remembered that were warned of; when full all are forgotten.
const MAX_TOLD: usize = 4096;

/// The library in a process.
#[derive(Clone, Copy, Debug)]
pub struct Sdk {
    /// Whether its threads were there at the last look.
    pub runs: bool,
    /// Whether the process has used CPU time since.
    has_run: bool,
    /// When to look, and how long to wait after that, in nanoseconds.
    due: BootNanos,
    pause: u64,
}

impl Sdk {
    /// The library is there, and its threads were not looked for yet.
    fn loaded(now: BootNanos) -> Self {
        Self {
            runs: false,
            has_run: true,
            due: now,
            pause: LOOK_FIRST,
        }
    }

    fn look(&mut self, pid: Pid) {
        let mut names = procfs::thread_names(pid).take(MAX_THREADS);
        self.runs = names.any(|name| name == THREAD);
    }

    /// Looks if it is time; whether it runs.
    fn look_if_due(&mut self, pid: Pid, now: BootNanos) -> bool {
        // Only a process that uses CPU time profiles itself.
        if self.due > now || !self.has_run {
            return false;
        }
        self.look(pid);
        self.has_run = false;
        self.due = BootNanos(now.0.saturating_add(self.pause));
        self.pause = (2 * self.pause).min(LOOK_LAST);
        self.runs
    }

    /// Of the library, in a word.
    pub fn state(sdk: Option<&Self>) -> &'static str {
        match sdk {
            None => "absent",
            Some(Self { runs: false, .. }) => "imported",
            Some(Self { runs: true, .. }) => "running",
        }
    }
}

/// The library in the processes of the host.
#[derive(Debug)]
pub struct SdkFacility {
    /// Whether to warn at all.
    is_wanted: bool,
    /// Services that were warned of.
    warned: HashSet<Service>,
}

impl SdkFacility {
    /// Says once of each service that it is profiled twice, if that is wanted.
    pub fn new(is_wanted: bool) -> Self {
        Self {
            is_wanted,
            warned: HashSet::new(),
        }
    }
}

impl Facility for SdkFacility {
    fn place(&mut self, process: &mut Known, found: &Found<'_>, _: &mut Desk<'_>) -> Placement {
        if is_library(&found.mapping.path) && process.kept::<Sdk>().is_none() {
            let mut sdk = Sdk::loaded(BootNanos::now());
            // For a report: a process may have run it for long.
            sdk.look(process.pid());
            process.put(sdk);
        }
        Placement::Done
    }

    fn hear(&mut self, process: &mut Known, word: &Word<'_>, _: &mut Desk<'_>) -> Option<Why> {
        if matches!(word, Word::HasRun)
            && let Some(sdk) = process.kept_mut::<Sdk>()
        {
            sdk.has_run = true;
        }
        None
    }

    fn forked(&mut self, child: &mut Known) -> Option<Why> {
        // Its parent's threads are not its own.
        if let Some(sdk) = child.kept_mut::<Sdk>() {
            *sdk = Sdk::loaded(BootNanos::now());
        }
        None
    }

    fn due(
        &mut self,
        processes: &mut Processes,
        now: BootNanos,
        _: &mut Desk<'_>,
    ) -> Option<BootNanos> {
        if !self.is_wanted {
            return None;
        }
        let mut next = None;
        for known in processes.values_mut().filter(|it| it.is_profiled()) {
            let target = known.target().clone();
            let Some(sdk) = known.kept_mut::<Sdk>() else {
                continue;
            };
            if self.warned.contains(&*target.service) {
                continue;
            }
            if sdk.look_if_due(target.process.pid, now) {
                warn(&target.service, target.process.pid);
                if self.warned.len() >= MAX_TOLD {
                    self.warned.clear();
                }
                self.warned.insert(Service::clone(&target.service));
            } else if sdk.has_run {
                // One that does not run is looked at when it has.
                next = next.into_iter().chain([sdk.due]).min();
            }
        }
        next
    }
}

/// Whether a mapped file is the SDK's library: the module `pyroscope._native` (release 1), or
/// `pyroscope._native__lib` (before).
pub(super) fn is_library(path: &str) -> bool {
    let mut parts = path.rsplit('/');
    let (file, folder) = (parts.next(), parts.next());
    folder == Some("pyroscope")
        && file.is_some_and(|file| {
            ["_native.", "_native__lib."]
                .into_iter()
                .any(|module| file.starts_with(module))
        })
}

fn warn(service: &Service, pid: Pid) {
    tracing::warn!(
        service = service.name,
        %pid,
        "pyroscope-io runs in a process of this service, which is profiled twice: a Pyroscope adds up what \
         both push under one service_name. Take pyroscope-io out of the service, or give it an \
         application_name of its own until then (docs/grafana.md)"
    );
}

#[cfg(test)]
mod tests {
    use super::is_library;

    /// The library of every release is known, whatever its interpreter; other modules are not.
    #[test]
    fn libraries() {
        for path in [
            "/srv/lib/python3.11/site-packages/pyroscope/_native.cpython-311-x86_64-linux-gnu.so",
            "/x/pyroscope/_native.abi3.so (deleted)",
            "/x/pyroscope/_native__lib.cpython-39-x86_64-linux-gnu.so",
        ] {
            assert!(is_library(path), "{path}");
        }
        for path in [
            "/x/pyroscope/_nativeness.so",
            "/x/other/_native.cpython-311-x86_64-linux-gnu.so",
            "/x/pyroscope/ext/_native.so",
            "_native.so",
            "[vdso]",
            "",
        ] {
            assert!(!is_library(path), "{path}");
        }
    }
}

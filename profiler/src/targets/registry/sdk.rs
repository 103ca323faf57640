//! `pyroscope-io`, the profiler that a process runs in itself: whoever pushes its profiles, too, would have
//! them summed with ours.
//!
//! Loading its library says that it was imported; that it runs, only its threads say. Of those one has a
//! name: that of the client by which it pushes. From release 1 on that thread is there from `configure()` to
//! `shutdown()`, before only while a profile is sent.

use std::collections::HashSet;

use super::{Known, Targets, due::SECOND};
use crate::{
    id::{Pid, Service},
    targets::procfs,
    time::BootNanos,
};

/// What `comm` leaves of `reqwest-internal-sync-runtime`, the thread of reqwest's blocking client.
const THREAD: &str = "reqwest-interna";
/// Threads looked at in one process.
const MAX_THREADS: usize = 4096;
/// A process that has loaded the library is looked at again after this long, and then twice as long up to the
/// last, in nanoseconds.
const LOOK_FIRST: u64 = SECOND;
const LOOK_LAST: u64 = 16 * SECOND;
/// Services remembered that were told of; when full all are forgotten.
const MAX_TOLD: usize = 4096;

/// Who was told of.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Whether to tell at all.
    wanted: bool,
    services: HashSet<Service>,
}

/// The library in a process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sdk {
    /// Whether its threads were there at the last look.
    pub(super) runs: bool,
    /// Whether the process has used CPU time since.
    has_run: bool,
    due: BootNanos,
    pause: u64,
}

impl Sdk {
    /// The library was loaded.
    pub(super) fn loaded(now: BootNanos) -> Self {
        Self {
            runs: false,
            has_run: true,
            due: now,
            pause: LOOK_FIRST,
        }
    }

    /// The process was sampled: only who uses CPU time profiles itself.
    pub(super) fn has_run(&mut self) {
        self.has_run = true;
    }

    fn look(&mut self, pid: Pid) {
        let mut names = procfs::thread_names(pid).take(MAX_THREADS);
        self.runs = names.any(|name| name == THREAD);
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

impl Targets {
    /// From now on says once of each service that it is profiled twice.
    pub fn tell_of_sdks(&mut self) {
        self.sdks.wanted = true;
    }

    /// Looks now at every process that has loaded the library, for a report.
    pub fn look_for_sdks(&mut self) {
        for known in self.processes.values_mut() {
            if let Some(sdk) = &mut known.sdk {
                sdk.look(known.target.process.pid);
            }
        }
    }

    /// Looks at those whose time has come and who were not told of, and says when to call again.
    pub(super) fn tell_of_new_sdks(&mut self, now: BootNanos) -> Option<BootNanos> {
        if !self.sdks.wanted {
            return None;
        }
        let told = &mut self.sdks.services;
        let mut next = None;
        for known in self.processes.values_mut().filter(|it| it.is_profiled()) {
            let service = &known.target.service;
            let Some(sdk) = known.sdk.as_mut().filter(|_| !told.contains(&**service)) else {
                continue;
            };
            if sdk.due <= now && sdk.has_run {
                let pid = known.target.process.pid;
                sdk.look(pid);
                if sdk.runs {
                    tell(service, pid);
                    if told.len() >= MAX_TOLD {
                        told.clear();
                    }
                    told.insert(Service::clone(service));
                    continue;
                }
                sdk.has_run = false;
                sdk.due = BootNanos(now.0.saturating_add(sdk.pause));
                sdk.pause = (2 * sdk.pause).min(LOOK_LAST);
            }
            // Who does not run is looked at when it has.
            if sdk.has_run {
                next = Some(next.map_or(sdk.due, |next: BootNanos| next.min(sdk.due)));
            }
        }
        next
    }
}

impl Known {
    /// Of `pyroscope-io` in it, in a word.
    pub(in crate::targets) fn sdk_state(&self) -> &'static str {
        match self.sdk {
            None => "absent",
            Some(Sdk { runs: false, .. }) => "imported",
            Some(Sdk { runs: true, .. }) => "running",
        }
    }
}

fn tell(service: &Service, pid: Pid) {
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

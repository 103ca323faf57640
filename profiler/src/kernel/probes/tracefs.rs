//! Uprobes by events of tracefs (<https://docs.kernel.org/trace/uprobetracer.html>): for kernels before 6.6 that
//! want `CAP_SYS_ADMIN` for perf's own. aya takes this way only before 4.17.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::fd::{AsRawFd as _, BorrowedFd},
    path::{Path, PathBuf},
    process,
};

use perf_event::{Builder, Counter, events::Tracepoint};

use super::file::path_of;
use crate::kernel::cpus;

/// Where tracefs is mounted: on its own, or below debugfs.
const PLACES: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
/// The file that makes and removes events.
const EVENTS: &str = "uprobe_events";
/// The group of all events of agents.
const GROUP: &str = "spanprof";

/// A program on one site, by an event of its own, which is removed when this is dropped.
#[derive(Debug)]
pub(super) struct TraceProbe {
    /// Before the event: one that is used cannot be removed.
    counter: Option<Counter>,
    event: Event,
}

/// An event that is there.
#[derive(Debug)]
struct Event {
    folder: PathBuf,
    name: String,
}

impl TraceProbe {
    /// Puts a program on a site of a file; `number` is another one for each event of this process.
    pub(super) fn put_on(
        program: BorrowedFd<'_>,
        file: BorrowedFd<'_>,
        site: u64,
        number: u64,
    ) -> io::Result<Self> {
        let folder = mounted()?;
        if number == 0 {
            remove_leftovers(&folder);
        }
        let name = format!("p{}_{number}", process::id());
        // The kernel follows the path when it makes the event, and keeps the file.
        let event = format!("p:{GROUP}/{name} {}:{site:#x}", path_of(file).display());
        command(&folder, &event)?;
        let mut probe = Self {
            counter: None,
            event: Event { folder, name },
        };
        probe.counter = Some(probe.event.count(program)?);
        Ok(probe)
    }
}

impl Event {
    /// Has the program run at every hit, on whatever CPU.
    fn count(&self, program: BorrowedFd<'_>) -> io::Result<Counter> {
        let path = self
            .folder
            .join("events")
            .join(GROUP)
            .join(&self.name)
            .join("id");
        let id = fs::read_to_string(path)?
            .trim_end()
            .parse()
            .map_err(io::Error::other)?;
        // A program belongs to the event, not to the CPU for which it was opened.
        let mut counter = Builder::new(Tracepoint::with_id(id))
            .any_pid()
            .one_cpu(cpus::first()?)
            .include_kernel()
            .build()?;
        counter.set_bpf(program.as_raw_fd())?;
        counter.enable()?;
        Ok(counter)
    }
}

impl Drop for TraceProbe {
    fn drop(&mut self) {
        self.counter = None;
        let Event { folder, name } = &self.event;
        if let Err(error) = command(folder, &format!("-:{GROUP}/{name}")) {
            tracing::warn!(%error, name, "cannot remove the event of a span probe from tracefs");
        }
    }
}

/// The folder of tracefs.
fn mounted() -> io::Result<PathBuf> {
    let mut places = PLACES.iter().map(Path::new);
    let found = places.find(|place| place.join(EVENTS).exists());
    found
        .map(Path::to_owned)
        .ok_or_else(|| io::Error::other("tracefs is not mounted, or has no uprobe_events"))
}

/// The file that makes and removes uprobes, where tracefs is mounted.
pub(in crate::kernel) fn events_of_tracefs() -> io::Result<PathBuf> {
    mounted().map(|folder| folder.join(EVENTS))
}

/// Has the kernel make or remove an event.
fn command(folder: &Path, line: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().append(true).open(folder.join(EVENTS))?;
    file.write_all(format!("{line}\n").as_bytes())
}

/// Removes events of agents that were killed: nothing else does.
fn remove_leftovers(folder: &Path) {
    let listed = fs::read(folder.join(EVENTS)).unwrap_or_default();
    for name in String::from_utf8_lossy(&listed).lines().filter_map(own) {
        let is_gone = pid(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        // One that another process removes at the same time is gone as well.
        if is_gone && let Err(error) = command(folder, &format!("-:{GROUP}/{name}")) {
            tracing::debug!(%error, name, "cannot remove the event of an agent that has gone");
        }
    }
}

/// The name of an event of ours, of a line of the kernel's list.
fn own(line: &str) -> Option<&str> {
    let (event, _) = line.strip_prefix("p:")?.split_once(' ')?;
    event.strip_prefix(GROUP)?.strip_prefix('/')
}

/// Whose event it is, by its name.
fn pid(name: &str) -> Option<u32> {
    let (pid, _number) = name.strip_prefix('p')?.split_once('_')?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{own, pid};

    /// Lines as Linux 6.18 lists them: ours are told from those of others.
    #[test]
    fn events_are_listed() {
        let line = "p:spanprof/p4242_0 /usr/lib/python3/_hook.so:0x0000000000001c40";
        assert_eq!(own(line).and_then(pid), Some(4242));
        for line in [
            "p:uprobes/p_libc_0x1 /lib/libc.so:0x1",
            "r:spanprof/p1_0 /a:0x1",
            "p:spanprofiler/p1_0 /a:0x1",
            "",
        ] {
            assert_eq!(own(line), None, "{line}");
        }
        assert_eq!(pid("pabc_0"), None);
    }
}

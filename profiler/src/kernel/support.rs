//! What this kernel can do, asked once; `spanprof doctor` prints it.

use std::{fs, io, path::Path};

use rustix::thread::CapabilitySet;

use super::btf::{self, KernelTypes};

/// Capabilities without which nothing works. `CAP_SYS_ADMIN` stands in for the first two, as it
/// did for all of BPF before Linux 5.8.
const NEEDED: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
    (CapabilitySet::SYS_PTRACE, "CAP_SYS_PTRACE"),
];

/// What the kernel and this process's rights allow.
#[derive(Clone, Debug)]
pub struct Support {
    /// `uname -r`.
    pub release: String,
    /// Whether the kernel has BTF.
    pub btf: bool,
    /// Capabilities this process lacks.
    pub missing_capabilities: Vec<&'static str>,
    /// Whether a uprobe on a 5-byte nop becomes a call that crashes the children a process forks.
    pub calls_crash_children: bool,
    /// Whether software CPU clock events can be opened.
    pub perf_events: Result<(), String>,
}

/// Asks the running kernel.
pub fn ask() -> Support {
    let release = release();
    Support {
        btf: Path::new(btf::PATH).exists(),
        missing_capabilities: missing_capabilities(),
        // Without BTF no probe is put on.
        calls_crash_children: KernelTypes::read().is_ok_and(|types| calls_crash_children(&types)),
        perf_events: perf_events(),
        release,
    }
}

/// A CPU that is online.
pub(super) fn first_cpu() -> io::Result<usize> {
    let cpus = aya::util::online_cpus().map_err(|(_, error)| error)?;
    let first = cpus.first().and_then(|&cpu| usize::try_from(cpu).ok());
    first.ok_or_else(|| io::Error::other("no CPU is online"))
}

/// Whether this process has the capabilities to load programs.
pub(super) fn may_load_programs() -> bool {
    missing_capabilities().is_empty()
}

/// Whether a uprobe on a 5-byte nop becomes a call that crashes the children a process forks.
///
/// Linux 6.18 and later replace such a nop, when it has been hit once, by a call of a page that they map
/// into the process. A forked child has the call and not the page: `arch/x86/kernel/uprobes.c` maps it with
/// `VM_DONTCOPY`. The series that mends it ("uprobes/x86: Allow to copy uprobe trampolines on fork", July
/// 2026) also makes calls of no 5-byte nop any more, and drops the list of those pages. So it is the list
/// that tells, whatever a distribution has backported.
pub(super) fn calls_crash_children(types: &KernelTypes) -> bool {
    cfg!(target_arch = "x86_64") && types.offset(&["uprobes_state", "head_tramps"]).is_ok()
}

/// Whether the helper `bpf_task_pt_regs` exists.
pub(super) fn has_task_registers() -> bool {
    version(&release()) >= (5, 15)
}

/// Whether the helper `bpf_loop` exists.
pub(super) fn has_loop() -> bool {
    version(&release()) >= (5, 17)
}

fn release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

/// Major and minor version of a kernel release; (0, 0) where it says neither.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|character: char| !character.is_ascii_digit())
        .map(|digits| digits.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn missing_capabilities() -> Vec<&'static str> {
    let Ok(sets) = rustix::thread::capabilities(None) else {
        return NEEDED.iter().map(|(_, name)| *name).collect();
    };
    let admin = sets.effective.contains(CapabilitySet::SYS_ADMIN);
    NEEDED
        .iter()
        .filter(|(needed, _)| {
            let stands_in = admin && *needed != CapabilitySet::SYS_PTRACE;
            !stands_in && !sets.effective.contains(*needed)
        })
        .map(|(_, name)| *name)
        .collect()
}

/// Perf events need the setting to allow them, or `CAP_PERFMON` to override it.
fn perf_events() -> Result<(), String> {
    let path = "/proc/sys/kernel/perf_event_paranoid";
    match fs::read_to_string(path) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("the kernel has no perf events ({path}: {error})")),
    }
}

#[cfg(test)]
mod tests {
    use super::version;

    /// Distribution suffixes do not disturb the version.
    #[test]
    fn version_is_read_from_releases() {
        assert_eq!(version("6.18.44-fc-v669"), (6, 18));
        assert_eq!(version("5.10.0-28-cloud-amd64"), (5, 10));
        assert_eq!(version("garbage"), (0, 0));
    }
}

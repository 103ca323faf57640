//! What this kernel can do, and what this process may, asked once; `spanprof doctor` prints it.

use std::{
    ffi::CString,
    fs::{self, OpenOptions},
    io,
    path::Path,
    str::FromStr,
};

use perf_event::{Builder, events::Software};
use rustix::{
    process::{Resource, getrlimit},
    thread::{CapabilitySet, capabilities},
};

use super::{
    btf::{self, KernelTypes},
    cpus,
    probes::{events_of_tracefs, file_of_nops},
};
use crate::rights::Facts;

/// What the kernel and this process's rights allow.
#[derive(Clone, Debug)]
pub struct Support {
    /// `uname -r`.
    pub release: String,
    /// Whether the kernel has BTF.
    pub btf: bool,
    /// Whether a uprobe on a 5-byte nop becomes a call that crashes the children a process forks.
    pub calls_crash_children: bool,
    /// What decides which rights are needed, and which are there.
    pub rights: Facts,
}

/// Asks the running kernel.
pub fn ask() -> Support {
    Support {
        btf: Path::new(btf::PATH).exists(),
        // Without BTF no probe is put on.
        calls_crash_children: KernelTypes::read().is_ok_and(|types| calls_crash_children(&types)),
        rights: rights(),
        release: release(),
    }
}

/// Asks what this process may; opens events and closes them again to find out.
pub(super) fn rights() -> Facts {
    let capabilities = capabilities(None).map(|sets| sets.effective);
    let kernel = version(&release());
    // To close one takes the kernel tens of milliseconds, and from 6.6 on nothing depends on it.
    let tries_probes = kernel < (6, 6);
    Facts {
        kernel,
        // A kernel that does not tell has none to give.
        capabilities: capabilities.unwrap_or(CapabilitySet::empty()),
        over_the_host: is_over_the_host(),
        perf_event_paranoid: number("/proc/sys/kernel/perf_event_paranoid"),
        kptr_restrict: number("/proc/sys/kernel/kptr_restrict"),
        ptrace_scope: number("/proc/sys/kernel/yama/ptrace_scope"),
        is_confidential: is_confidential(),
        memory_is_unlimited: getrlimit(Resource::Memlock).maximum.is_none(),
        perf_events: try_clock().is_ok(),
        perf_uprobes: tries_probes && try_perf_uprobe().is_ok(),
        tracefs_uprobes: tries_probes && may_write_tracefs(),
    }
}

/// A number that a file of the procfs holds; `None` where there is no such file.
fn number<T: FromStr>(path: &str) -> Option<T> {
    fs::read_to_string(path).ok()?.trim_end().parse().ok()
}

/// Whether users of this process's namespace are those of the host: all are mapped to themselves.
fn is_over_the_host() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let mut numbers = map.split_whitespace();
    [numbers.next(), numbers.next(), numbers.next()] == [Some("0"), Some("0"), Some("4294967295")]
}

/// Whether the kernel is locked down for confidentiality; what cannot be seen, as in most containers, is not.
fn is_confidential() -> bool {
    let state = fs::read_to_string("/sys/kernel/security/lockdown");
    state.is_ok_and(|state| state.contains("[confidentiality]"))
}

/// Opens what the sampling clock is, for one CPU, and does not start it.
fn try_clock() -> io::Result<()> {
    let clock = Builder::new(Software::CPU_CLOCK)
        .any_pid()
        .one_cpu(cpus::first()?)
        .include_kernel()
        .build();
    clock.map(drop)
}

/// Opens a uprobe of perf's on a file of our own, and does not start it.
fn try_perf_uprobe() -> io::Result<()> {
    let (_file, path) = file_of_nops()?;
    let path = CString::new(path.into_os_string().into_encoded_bytes())?;
    let kind = number("/sys/bus/event_source/devices/uprobe/type")
        .ok_or_else(|| io::Error::other("the kernel has no uprobes of perf's"))?;
    let mut probe = Builder::new(Software::DUMMY);
    probe.any_pid().one_cpu(cpus::first()?).include_kernel();
    // The crate has a type for such events, and leaves out that it is one.
    let attributes = probe.attrs_mut();
    attributes.type_ = kind;
    attributes.config = 0;
    // `uprobe_path`, which has the same place.
    attributes.kprobe_func = path.as_ptr().expose_provenance() as u64;
    attributes.probe_offset = 0;
    probe.build().map(drop)
}

fn may_write_tracefs() -> bool {
    let opened = events_of_tracefs().map(|file| OpenOptions::new().append(true).open(file));
    matches!(opened, Ok(Ok(_)))
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

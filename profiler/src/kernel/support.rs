//! What this kernel can do, and what this process may, asked once; `spanprof doctor` prints it.

use std::{
    ffi::CString,
    fs::{self, OpenOptions},
    io,
    path::Path,
    str::FromStr,
};

use aya::{
    programs::ProgramType,
    sys::{BpfHelper, UProbeMultiFeature, is_helper_supported, is_uprobe_multi_supported},
};
use perf_event::{Builder, events::Software};
use rustix::{
    process::{Resource, getrlimit},
    thread::{CapabilitySet, capabilities},
};

use super::{
    btf::{self, KernelTypes},
    cpus,
    error::LoadError,
    probes::{events_of_tracefs, file_of_nops},
};
use crate::{
    arch::{Architecture as _, Machine},
    rights::Facts,
};

/// What the kernel and this process's rights allow.
#[derive(Clone, Debug)]
pub struct Support {
    /// `uname -r`.
    pub release: String,
    /// Whether the kernel has BTF.
    pub btf: bool,
    /// Whether a uprobe on the nop of earlier packages becomes a call that crashes the children a process forks.
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
    let multi_uprobes = has_multi_uprobes();
    // To close one takes the kernel tens of milliseconds, and nothing depends on it if there is a better way.
    let tries_probes = !multi_uprobes;
    Facts {
        locks_maps: locks_maps(),
        multi_uprobes,
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

/// A number that a file of the procfs holds; `None` if there is no such file.
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

/// Whether a uprobe on the nop of earlier packages becomes a call that crashes the children a process forks.
pub(super) fn calls_crash_children(types: &KernelTypes) -> bool {
    Machine::CALLS_CRASH_CHILDREN.is_some_and(|member| types.offset(member).is_ok())
}

/// Whether programs that take samples can call a helper: the kernel is asked by a program that does, since
/// distributions bring helpers to kernels of earlier versions.
pub(super) fn has_helper(helper: BpfHelper) -> Result<bool, LoadError> {
    is_helper_supported(ProgramType::PerfEvent, helper)
        .map_err(|error| LoadError::Helper { helper, error })
}

/// Whether BPF maps count against the limit of locked memory. What counts them for control groups instead came
/// with a helper (Linux 5.11), which the kernel can be asked for; libbpf does the same. One that gives no answer,
/// for want of rights, is taken for a later one: those rights are missing by name.
fn locks_maps() -> bool {
    let helper = BpfHelper::BPF_FUNC_ktime_get_coarse_ns;
    !is_helper_supported(ProgramType::SocketFilter, helper).unwrap_or(true)
}

/// Whether the kernel has links of the kind `uprobe_multi`; one that gives no answer as above.
fn has_multi_uprobes() -> bool {
    is_uprobe_multi_supported(UProbeMultiFeature::LinkCreation).unwrap_or(true)
}

fn release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

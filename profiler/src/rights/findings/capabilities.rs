//! What each capability buys: found by taking them away one by one, on Linux 5.10, 6.1, 6.12 and 6.18.

use rustix::thread::CapabilitySet;

use super::finding::{Finding, Lack, Weight};
use crate::rights::Facts;

/// A capability, and what it buys.
struct Capability {
    name: &'static str,
    set: CapabilitySet,
    /// What does as well.
    or: CapabilitySet,
    weight: Weight,
    /// What is lost without it.
    costs: &'static str,
    /// Whether anything is lost without it here.
    is_needed: fn(&Facts) -> bool,
}

const CAPABILITIES: [Capability; 7] = [
    Capability {
        name: "CAP_BPF",
        set: CapabilitySet::BPF,
        or: CapabilitySet::SYS_ADMIN,
        weight: Weight::Stops,
        costs: "the kernel takes no BPF programs",
        is_needed: |_| true,
    },
    Capability {
        name: "CAP_PERFMON",
        set: CapabilitySet::PERFMON,
        or: CapabilitySet::SYS_ADMIN,
        weight: Weight::Stops,
        costs: "the kernel takes no programs that trace, and no sampling clock",
        is_needed: |_| true,
    },
    Capability {
        name: "CAP_SYS_PTRACE",
        set: CapabilitySet::SYS_PTRACE,
        or: CapabilitySet::empty(),
        weight: Weight::Stops,
        costs: "no other process can be looked at",
        is_needed: |_| true,
    },
    Capability {
        name: "CAP_SYS_RESOURCE",
        set: CapabilitySet::SYS_RESOURCE,
        or: CapabilitySet::empty(),
        weight: Weight::Stops,
        costs: "before Linux 5.11 BPF maps are locked memory, of which RLIMIT_MEMLOCK allows too little",
        is_needed: |facts| facts.locks_maps && !facts.memory_is_unlimited,
    },
    Capability {
        name: "CAP_DAC_READ_SEARCH",
        set: CapabilitySet::DAC_READ_SEARCH,
        or: CapabilitySet::DAC_OVERRIDE,
        weight: Weight::Costs,
        costs: "processes of other users have no spans and mostly no Python frames: their memory is closed",
        is_needed: |_| true,
    },
    Capability {
        name: "CAP_SYSLOG",
        set: CapabilitySet::SYSLOG,
        or: CapabilitySet::empty(),
        weight: Weight::Costs,
        costs: "frames of the kernel have no names",
        is_needed: |facts| !shows_kernel_symbols_to_all(facts),
    },
    Capability {
        name: "CAP_CHECKPOINT_RESTORE",
        set: CapabilitySet::CHECKPOINT_RESTORE,
        or: CapabilitySet::SYS_ADMIN,
        weight: Weight::Costs,
        costs: "native frames in files that were deleted or replaced have no names",
        is_needed: |_| true,
    },
];

/// What does as well as these, each by itself.
pub(in crate::rights) fn stand_ins(missing: CapabilitySet) -> CapabilitySet {
    let capabilities = CAPABILITIES.iter().filter(|it| missing.contains(it.set));
    capabilities.fold(CapabilitySet::empty(), |all, it| all | it.or)
}

/// Whether `/proc/kallsyms` has addresses for everybody: `kallsyms_show_value` of the kernel's `kernel/ksyms_common.c`.
fn shows_kernel_symbols_to_all(facts: &Facts) -> bool {
    facts.kptr_restrict == Some(0) && facts.perf_event_paranoid.is_some_and(|level| level <= 1)
}

/// Those that are missing.
pub(super) fn capabilities(facts: &Facts) -> impl Iterator<Item = Finding> {
    CAPABILITIES
        .iter()
        .filter(|it| !facts.capabilities.intersects(it.set | it.or) && (it.is_needed)(facts))
        .map(|it| Finding {
            lack: Lack::Capability(it.name),
            weight: it.weight,
            costs: it.costs,
        })
}

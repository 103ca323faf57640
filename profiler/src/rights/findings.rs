//! Facts to findings: what is missing, what that costs, and the line that fixes it.
//!
//! What each capability buys was found by taking them away one by one, on Linux 5.10, 6.1, 6.12 and 6.18; that of
//! Yama, `kptr_restrict` 2 and lockdown is in the kernel's documentation.

use std::fmt;

use rustix::thread::CapabilitySet;

use super::Facts;

/// How much something that is missing matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// Nothing can be profiled.
    Stops,
    /// There is profiling, with less than there could be.
    Costs,
}

/// What is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lack {
    /// A capability, by its name.
    Capability(&'static str),
    /// A setting or a state of the kernel is in the way.
    Setting {
        /// What it is called.
        name: &'static str,
        /// As what it was found.
        found: String,
        /// What fixes it.
        remedy: &'static str,
    },
}

/// One thing that is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub lack: Lack,
    /// How much it matters.
    pub weight: Weight,
    /// What it costs.
    pub costs: &'static str,
}

impl Finding {
    /// The name of what is missing or in the way.
    pub fn name(&self) -> &'static str {
        match &self.lack {
            Lack::Capability(name) | Lack::Setting { name, .. } => name,
        }
    }

    /// What was found, without its name.
    pub fn found(&self) -> &str {
        match &self.lack {
            Lack::Capability(_) => "is missing",
            Lack::Setting { found, .. } => found,
        }
    }

    /// What fixes it, in one line.
    pub fn remedy(&self) -> String {
        match &self.lack {
            Lack::Capability(name) => give(name),
            Lack::Setting { remedy, .. } => (*remedy).to_owned(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} {} ({}): {}",
            self.name(),
            self.found(),
            self.costs,
            self.remedy()
        )
    }
}

/// How capabilities are given.
fn give(names: &str) -> String {
    format!(
        "run it as root, or give it {names} (AmbientCapabilities= of a systemd unit, capabilities.add of a container)"
    )
}

/// Findings in one line; how capabilities are given is said once for all of them.
pub fn told(findings: &[Finding]) -> String {
    let mut missing = Vec::new();
    let mut parts = Vec::new();
    for finding in findings {
        if let Lack::Capability(name) = &finding.lack {
            missing.push((name, finding.costs));
        }
    }
    if !missing.is_empty() {
        let each: Vec<String> = missing
            .iter()
            .map(|(name, costs)| format!("{name} is missing ({costs})"))
            .collect();
        let names: Vec<&str> = missing.iter().map(|(name, _)| **name).collect();
        parts.push(format!("{}: {}", each.join(", "), give(&names.join(", "))));
    }
    let settings = findings
        .iter()
        .filter(|finding| matches!(finding.lack, Lack::Setting { .. }));
    parts.extend(settings.map(Finding::to_string));
    parts.join("; ")
}

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
pub(super) fn stand_ins(missing: CapabilitySet) -> CapabilitySet {
    let capabilities = CAPABILITIES.iter().filter(|it| missing.contains(it.set));
    capabilities.fold(CapabilitySet::empty(), |all, it| all | it.or)
}

/// Whether `/proc/kallsyms` has addresses for everybody: `kallsyms_show_value` of the kernel's `kernel/ksyms_common.c`.
fn shows_kernel_symbols_to_all(facts: &Facts) -> bool {
    facts.kptr_restrict == Some(0) && facts.perf_event_paranoid.is_some_and(|level| level <= 1)
}

/// What is missing here, the worst first.
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut all: Vec<Finding> = capabilities(facts).chain(settings(facts)).collect();
    all.sort_by_key(|finding| finding.weight == Weight::Costs);
    all
}

fn capabilities(facts: &Facts) -> impl Iterator<Item = Finding> {
    CAPABILITIES
        .iter()
        .filter(|it| !facts.capabilities.intersects(it.set | it.or) && (it.is_needed)(facts))
        .map(|it| Finding {
            lack: Lack::Capability(it.name),
            weight: it.weight,
            costs: it.costs,
        })
}

fn setting(
    weight: Weight,
    name: &'static str,
    found: String,
    costs: &'static str,
    remedy: &'static str,
) -> Finding {
    Finding {
        lack: Lack::Setting {
            name,
            found,
            remedy,
        },
        weight,
        costs,
    }
}

fn settings(facts: &Facts) -> impl Iterator<Item = Finding> {
    let user_namespace = (!facts.over_the_host).then(|| {
        setting(
            Weight::Stops,
            "user namespace",
            "is not the host's".to_owned(),
            "capabilities of another do not count",
            "run it in the host's: hostUsers: true in Kubernetes, and no rootless container",
        )
    });
    let hidden = facts
        .kptr_restrict
        .filter(|&level| level >= 2)
        .map(|level| {
            setting(
                Weight::Costs,
                "kptr_restrict",
                format!("is {level}"),
                "frames of the kernel have no names, whoever asks",
                "sysctl kernel.kptr_restrict=1",
            )
        });
    let untraceable = facts.ptrace_scope.filter(|&scope| scope >= 3).map(|scope| {
        setting(
            Weight::Costs,
            "ptrace_scope",
            format!("is {scope}"),
            "Yama lets no process read the memory of another: there are no spans and mostly no Python frames",
            "take kernel.yama.ptrace_scope=3 out of /etc/sysctl.d and reboot: it cannot be lowered before",
        )
    });
    let confidential = facts.is_confidential.then(|| {
        setting(
            Weight::Stops,
            "lockdown",
            "is confidentiality".to_owned(),
            "BPF programs may not read the kernel's memory",
            "boot with lockdown=integrity",
        )
    });
    [
        user_namespace,
        perf_events(facts),
        hidden,
        untraceable,
        confidential,
        hook(facts),
    ]
    .into_iter()
    .flatten()
}

/// Why the sampling clock does not start, though the capabilities are there.
fn perf_events(facts: &Facts) -> Option<Finding> {
    if facts.perf_events {
        return None;
    }
    let may = CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN;
    match facts.perf_event_paranoid {
        None => Some(setting(
            Weight::Stops,
            "perf events",
            "are missing".to_owned(),
            "there is no sampling clock",
            "use a kernel built with CONFIG_PERF_EVENTS=y",
        )),
        // Of a mainline kernel no level is above 2; a patch of Debian's and Ubuntu's makes them.
        Some(level) if level >= 3 && !facts.capabilities.contains(CapabilitySet::SYS_ADMIN) => {
            Some(setting(
                Weight::Stops,
                "perf_event_paranoid",
                format!("is {level}"),
                "from 3 on, kernels of Debian and Ubuntu want CAP_SYS_ADMIN for the sampling clock",
                "sysctl kernel.perf_event_paranoid=2, or give it CAP_SYS_ADMIN",
            ))
        }
        Some(_) if facts.capabilities.intersects(may) && facts.over_the_host => Some(setting(
            Weight::Stops,
            "perf events",
            "are refused though the capabilities are there".to_owned(),
            "there is no sampling clock: most likely a seccomp profile is older than CAP_PERFMON",
            "use the container runtime's newer default profile, or seccompProfile: {type: Unconfined}",
        )),
        // Of those the capability is said to be missing.
        Some(_) => None,
    }
}

/// Why the probes of the package's hook could not be put on.
fn hook(facts: &Facts) -> Option<Finding> {
    if facts.multi_uprobes || facts.perf_uprobes || facts.tracefs_uprobes {
        return None;
    }
    // Without it nothing works that could be tried.
    if !facts
        .capabilities
        .intersects(CapabilitySet::PERFMON | CapabilitySet::SYS_ADMIN)
    {
        return None;
    }
    Some(setting(
        Weight::Costs,
        "uprobes",
        "are refused".to_owned(),
        "spans that the package alone can tell are not seen; most are read without it",
        "use Linux 6.6 or newer, or give it CAP_SYS_ADMIN",
    ))
}

#[cfg(test)]
mod tests;

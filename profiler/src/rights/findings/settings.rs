//! Settings and states of the kernel that are in the way. What `perf_event_paranoid` costs was measured; that of Yama,
//! `kptr_restrict` 2 and lockdown is in the kernel's documentation.

use rustix::thread::CapabilitySet;

use super::finding::{Finding, Lack, Weight};
use crate::rights::Facts;

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

/// Settings and states of the kernel that are in the way.
pub(super) fn settings(facts: &Facts) -> impl Iterator<Item = Finding> {
    [
        user_namespace(facts),
        perf_events(facts),
        hidden_addresses(facts),
        yama(facts),
        lockdown(facts),
        hook(facts),
    ]
    .into_iter()
    .flatten()
}

fn user_namespace(facts: &Facts) -> Option<Finding> {
    (!facts.over_the_host).then(|| {
        setting(
            Weight::Stops,
            "user namespace",
            "is not the host's".to_owned(),
            "capabilities of another do not count",
            "run it in the host's: hostUsers: true in Kubernetes, and no rootless container",
        )
    })
}

fn hidden_addresses(facts: &Facts) -> Option<Finding> {
    let level = facts.kptr_restrict.filter(|&level| level >= 2)?;
    Some(setting(
        Weight::Costs,
        "kptr_restrict",
        format!("is {level}"),
        "frames of the kernel have no names, whoever asks",
        "sysctl kernel.kptr_restrict=1",
    ))
}

fn yama(facts: &Facts) -> Option<Finding> {
    let scope = facts.ptrace_scope.filter(|&scope| scope >= 3)?;
    Some(setting(
        Weight::Costs,
        "ptrace_scope",
        format!("is {scope}"),
        "Yama lets no process read the memory of another: there are no spans and mostly no Python frames",
        "take kernel.yama.ptrace_scope=3 out of /etc/sysctl.d and reboot: it cannot be lowered before",
    ))
}

fn lockdown(facts: &Facts) -> Option<Finding> {
    facts.is_confidential.then(|| {
        setting(
            Weight::Stops,
            "lockdown",
            "is confidentiality".to_owned(),
            "BPF programs may not read the kernel's memory",
            "boot with lockdown=integrity",
        )
    })
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

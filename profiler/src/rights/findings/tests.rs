//! The table of `docs/rights.md`: each capability × kernels × levels, and the settings.

use rustix::thread::CapabilitySet;

use super::{Finding, Weight, findings, told};
use crate::rights::Facts;

const SIX: CapabilitySet = CapabilitySet::BPF
    .union(CapabilitySet::PERFMON)
    .union(CapabilitySet::SYS_PTRACE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::SYSLOG)
    .union(CapabilitySet::CHECKPOINT_RESTORE);

/// A kernel as it answers what is tried.
#[derive(Clone, Copy, Debug)]
struct Kernel {
    version: (u32, u32),
    /// Has the patch of Debian and Ubuntu: from level 3 on perf events want `CAP_SYS_ADMIN`.
    is_debian: bool,
    /// Has the fix for CVE-2025-38466: uprobes by perf want it.
    has_uprobes_fix: bool,
}

/// As measured: Debian's 5.10.223, 6.1.192 and 6.12.117, and a mainline 6.18.44; and one in between.
const KERNELS: [Kernel; 5] = [
    Kernel {
        version: (5, 10),
        is_debian: true,
        has_uprobes_fix: false,
    },
    Kernel {
        version: (5, 15),
        is_debian: false,
        has_uprobes_fix: true,
    },
    Kernel {
        version: (6, 1),
        is_debian: true,
        has_uprobes_fix: true,
    },
    Kernel {
        version: (6, 12),
        is_debian: true,
        has_uprobes_fix: true,
    },
    Kernel {
        version: (6, 18),
        is_debian: false,
        has_uprobes_fix: true,
    },
];

fn facts(kernel: Kernel, level: i32, capabilities: CapabilitySet) -> Facts {
    let admin = capabilities.contains(CapabilitySet::SYS_ADMIN);
    let monitor = admin || capabilities.contains(CapabilitySet::PERFMON);
    let perf_events = monitor && (admin || !kernel.is_debian || level < 3);
    Facts {
        locks_maps: kernel.version < (5, 11),
        multi_uprobes: kernel.version >= (6, 6),
        capabilities,
        over_the_host: true,
        perf_event_paranoid: Some(level),
        kptr_restrict: Some(0),
        ptrace_scope: Some(1),
        is_confidential: false,
        memory_is_unlimited: false,
        perf_events,
        perf_uprobes: perf_events && (admin || !kernel.has_uprobes_fix),
        tracefs_uprobes: false,
    }
}

/// Names with what they weigh: `!` stops.
fn names(facts: &Facts) -> Vec<String> {
    let name = |finding: &Finding| {
        let stops = if finding.weight == Weight::Stops {
            "!"
        } else {
            ""
        };
        format!("{stops}{}", finding.name())
    };
    findings(facts).iter().map(name).collect()
}

/// Every capability is taken away on every kernel at every level: what is said is what was measured, and nothing
/// else.
#[test]
fn one_by_one() {
    let capabilities = [
        ("!CAP_BPF", CapabilitySet::BPF),
        ("!CAP_PERFMON", CapabilitySet::PERFMON),
        ("!CAP_SYS_PTRACE", CapabilitySet::SYS_PTRACE),
        ("CAP_DAC_READ_SEARCH", CapabilitySet::DAC_READ_SEARCH),
        ("CAP_SYSLOG", CapabilitySet::SYSLOG),
        ("CAP_CHECKPOINT_RESTORE", CapabilitySet::CHECKPOINT_RESTORE),
        ("", CapabilitySet::empty()),
    ];
    let mut seen = 0;
    for kernel in KERNELS {
        for level in 1..=4 {
            for (name, taken) in capabilities {
                let mut right = Vec::new();
                if kernel.version < (5, 11) {
                    right.push("!CAP_SYS_RESOURCE");
                }
                // If the level cannot be tried, the finding says what it may mean.
                let is_tried = name != "!CAP_PERFMON";
                if level >= 3 && (kernel.is_debian || !is_tried) {
                    right.push("!perf_event_paranoid");
                }
                let is_closed = kernel.has_uprobes_fix || kernel.is_debian && level >= 3;
                if kernel.version < (6, 6) && is_closed && is_tried {
                    right.push("uprobes");
                }
                // At level 1 the kernel shows its symbols to all.
                if !name.is_empty() && (name, level) != ("CAP_SYSLOG", 1) {
                    right.push(name);
                }
                let mut said = names(&facts(kernel, level, SIX - taken));
                said.sort();
                right.sort_unstable();
                assert_eq!(said, right, "{kernel:?} at level {level} without {name}");
                seen += 1;
            }
        }
    }
    assert_eq!(seen, 5 * 4 * 7);
}

/// What stops comes first, and root lacks nothing anywhere.
#[test]
fn order_and_root() {
    let nothing = facts(KERNELS[0], 3, CapabilitySet::empty());
    let said = findings(&nothing);
    let costs = said
        .iter()
        .position(|it| it.weight == Weight::Costs)
        .unwrap();
    assert!(said[costs..].iter().all(|it| it.weight == Weight::Costs));
    for kernel in KERNELS {
        for level in 1..=4 {
            assert_eq!(names(&facts(kernel, level, CapabilitySet::all())), [""; 0]);
        }
    }
}

/// What stands in for another, and a limit that is none.
#[test]
fn stand_ins() {
    let newest = KERNELS[4];
    let others = CapabilitySet::SYS_ADMIN
        | CapabilitySet::SYS_PTRACE
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::SYSLOG;
    assert_eq!(names(&facts(newest, 2, others)), [""; 0]);
    let without_symbols = facts(newest, 2, others - CapabilitySet::SYSLOG);
    assert_eq!(names(&without_symbols), ["CAP_SYSLOG"]);
    let mut unlimited = facts(KERNELS[0], 2, SIX);
    assert_eq!(names(&unlimited), ["!CAP_SYS_RESOURCE"]);
    unlimited.memory_is_unlimited = true;
    assert_eq!(names(&unlimited), [""; 0]);
    let mut writable = facts(KERNELS[2], 2, SIX);
    assert_eq!(names(&writable), ["uprobes"]);
    writable.tracefs_uprobes = true;
    assert_eq!(names(&writable), [""; 0]);
}

/// Settings and states that no capability overrides.
#[test]
fn states() {
    let with = |change: fn(&mut Facts)| {
        let mut facts = facts(KERNELS[4], 2, CapabilitySet::all());
        change(&mut facts);
        names(&facts)
    };
    assert_eq!(with(|it| it.kptr_restrict = Some(1)), [""; 0]);
    assert_eq!(with(|it| it.kptr_restrict = Some(2)), ["kptr_restrict"]);
    assert_eq!(with(|it| it.ptrace_scope = Some(2)), [""; 0]);
    assert_eq!(with(|it| it.ptrace_scope = Some(3)), ["ptrace_scope"]);
    assert_eq!(with(|it| it.ptrace_scope = None), [""; 0]);
    assert_eq!(with(|it| it.is_confidential = true), ["!lockdown"]);
    assert_eq!(with(|it| it.over_the_host = false), ["!user namespace"]);
    // Refused with every right there is: by a seccomp profile.
    assert_eq!(with(|it| it.perf_events = false), ["!perf events"]);
    let without = |it: &mut Facts| {
        it.perf_events = false;
        it.perf_event_paranoid = None;
    };
    assert_eq!(with(without), ["!perf events"]);
}

/// One line for all: each with what it costs, and once how capabilities are given.
#[test]
fn in_one_line() {
    let lacking = SIX - CapabilitySet::BPF - CapabilitySet::SYSLOG;
    let said = told(&findings(&facts(KERNELS[3], 3, lacking)));
    assert_eq!(
        said,
        "CAP_BPF is missing (the kernel takes no BPF programs), CAP_SYSLOG is missing (frames of the kernel have no \
         names): run it as root, or give it CAP_BPF, CAP_SYSLOG (AmbientCapabilities= of a systemd unit, \
         capabilities.add of a container); perf_event_paranoid is 3 (from 3 on, kernels of Debian and Ubuntu want \
         CAP_SYS_ADMIN for the sampling clock): sysctl kernel.perf_event_paranoid=2, or give it CAP_SYS_ADMIN"
    );
}

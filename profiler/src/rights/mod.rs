//! What the agent must be allowed to do, what it costs if it is not, and which of its threads is allowed what.
//!
//! In: facts of the kernel and of this process, as `kernel` finds them out. Out: findings in words, and threads
//! with less than the process was given. `docs/rights.md` has the same for people.

mod findings;
mod threads;

use rustix::thread::CapabilitySet;

pub use self::{
    findings::{Finding, Lack, Weight, findings, told},
    threads::{Thread, give_up, keep_for},
};

/// What decides which rights are needed, and which are there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and no state of anything"
)]
pub struct Facts {
    /// What this process has in effect.
    pub capabilities: CapabilitySet,
    /// Whether those are capabilities over the host, and not over a namespace of users.
    pub over_the_host: bool,
    /// `kernel.perf_event_paranoid`; `None` if the kernel has no perf events.
    pub perf_event_paranoid: Option<i32>,
    /// `kernel.kptr_restrict`.
    pub kptr_restrict: Option<i32>,
    /// `kernel.yama.ptrace_scope`; `None` without Yama.
    pub ptrace_scope: Option<i32>,
    /// Whether the kernel is locked down for *confidentiality*, as far as it can be seen.
    pub is_confidential: bool,
    /// Whether BPF maps count against the limit of locked memory (before Linux 5.11).
    pub locks_maps: bool,
    /// Whether this process may lock as much memory as it likes.
    pub memory_is_unlimited: bool,
    /// Whether this process can open the event that the sampling clock is; tried.
    pub perf_events: bool,
    /// Whether the kernel has links of the kind `uprobe_multi` (Linux 6.6): the best way to put on uprobes.
    pub multi_uprobes: bool,
    /// Whether this process can put on uprobes by perf; tried if there is no better way.
    pub perf_uprobes: bool,
    /// Whether it can write the file of tracefs that makes uprobes; tried if there is no better way.
    pub tracefs_uprobes: bool,
}

//! Registers, as the kernel hands them to programs: what `profiler_common::arch` is for both sides.

mod x86_64;

use aya_ebpf::programs::{PerfEventContext, ProbeContext};
use profiler_common::walk::Registers;

/// What an architecture provides.
pub(crate) trait Architecture {
    /// The registers at the sampling clock's interrupt; `None` if it has hit the kernel.
    fn user_mode(context: &PerfEventContext) -> Option<Registers>;

    /// The arguments at a site of `span_start`.
    fn span_start(context: &ProbeContext) -> SpanStart;

    /// The span's id at a site of `span_end`.
    fn span_end(context: &ProbeContext) -> u64;
}

/// The arguments of the probe `span_start`, in the order in which `python/ABI.md` has them.
pub(crate) struct SpanStart {
    pub(crate) trace_id_high: u64,
    pub(crate) trace_id_low: u64,
    pub(crate) span_id: u64,
    pub(crate) parent_id: u64,
    pub(crate) local_root_id: u64,
    /// Address of its name.
    pub(crate) name: u64,
    /// Bytes of the name.
    pub(crate) name_length: u64,
    pub(crate) flags: u64,
    /// Address of the hook's process block; 0 if there is none.
    pub(crate) process_block: u64,
}

/// The machine that the programs run on.
#[cfg(bpf_target_arch = "x86_64")]
pub(crate) type Machine = x86_64::X86_64;

//! What each stage of a sample takes: a profile of the sampling program, which no other clock can interrupt. Unless the
//! agent turns it on, the verifier drops all of this.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use profiler_common::counter::Counter;

use crate::{config, maps::COUNTERS, scratch::SampleScratch};

/// Starts the first stage.
#[inline(always)]
pub(crate) fn start(scratch: &mut SampleScratch) {
    if config::time_stages() != 0 {
        scratch.stage_start = now();
        end(scratch, Counter::StageClock);
    }
}

/// Counts the time since the stage before.
#[inline(always)]
pub(crate) fn end(scratch: &mut SampleScratch, stage: Counter) {
    if config::time_stages() == 0 {
        return;
    }
    let now = now();
    if let Some(sum) = COUNTERS.get_ptr_mut(stage as u32) {
        // SAFETY: the pointer is to this CPU's slot, and only this program counts stages.
        unsafe { *sum += now.wrapping_sub(scratch.stage_start) };
    }
    scratch.stage_start = now;
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper has no arguments and cannot fail.
    unsafe { bpf_ktime_get_ns() }
}

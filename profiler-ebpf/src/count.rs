//! Counting: every early exit of every program has a name.

use profiler_common::counter::Counter;

use crate::maps::COUNTERS;

/// Counts one.
#[inline(always)]
pub(crate) fn bump(counter: Counter) {
    if let Some(count) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: the pointer is to this CPU's slot. An interrupt may count in between, and one count be lost: the
        // sampling interrupt bumps other counters than the probes.
        unsafe { *count += 1 };
    }
}

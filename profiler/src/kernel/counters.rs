//! What the kernel programs count.

use aya::maps::{MapData, PerCpuArray};
use profiler_common::counter::Counter;

use crate::health::Health;

/// The kernel programs' counters.
pub struct Counters {
    counters: PerCpuArray<MapData, u64>,
}

impl Counters {
    pub(super) fn new(counters: PerCpuArray<MapData, u64>) -> Self {
        Self { counters }
    }

    /// Copies the counts, summed over all CPUs, into the health table.
    pub fn publish(&self, health: &Health) {
        for &counter in Counter::ALL {
            // The map has an element for every counter; a read that fails leaves the last value.
            if let Ok(values) = self.counters.get(&(counter as u32), 0) {
                health.set_kernel(counter, values.iter().sum());
            }
        }
    }
}

//! [`NamedSample`](crate::symbolize::NamedSample) → [`Profile`]: samples summed per service and window.
//!
//! Pure: no files, sockets or clocks. In: named samples. Out: profiles, a destination's selection of them
//! ([`Projection`]), and the text and binary forms of that. Must not know servers, retries or paths.

pub mod aggregate;
pub mod coverage;
pub mod folded;
pub mod labels;
pub mod native_threads;
mod numbers;
pub mod pprof;
mod projection;
pub mod proto;
#[cfg(test)]
pub(crate) mod samples;
mod shorten;
pub mod span_table;
pub mod split;
mod stacks;
#[cfg(test)]
mod tests;
mod text;
pub mod view;
pub mod window;

use std::sync::Arc;

pub use aggregate::{Aggregator, Settings};
pub use coverage::{Coverage, Tally};
pub use labels::{Key, Labels, Origin, SpanLabel, SpanLabels, Thread};
pub use projection::{Label, Projected, ProjectedRow, Projection};
pub use span_table::SpanTable;
pub(crate) use text::{columns, pad};
pub use view::NativeFrames;
pub use window::{Window, Windows};

pub(crate) use crate::events::printable;

use crate::{
    id::Service,
    measure::{Measure, Sum},
    symbolize::Frame,
};

/// One window of one service, with everything that is known of its samples: a [`Projection`] selects what a destination
/// takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// The service that used the CPU.
    pub service: Arc<Service>,
    /// The time it covers.
    pub window: Window,
    /// The time from one tick of the sampling clock to the next, in nanoseconds.
    pub period: u64,
    /// The samples, one row for each distinct stack, labels and kind of measure.
    pub rows: Vec<Row>,
}

/// All samples of a profile with the same stack, labels and kind of measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The stack, leaf first.
    pub stack: Arc<[Arc<Frame>]>,
    /// What is known of the samples besides their stack.
    pub labels: Labels,
    /// The sum of what they measured.
    pub measure: Measure,
    /// How many there were; never 0.
    pub samples: u64,
}

impl Profile {
    /// How many samples it sums.
    pub fn samples(&self) -> u64 {
        self.rows.iter().map(|row| row.samples).sum()
    }
}

impl Row {
    /// Its samples, summed.
    pub fn sum(&self) -> Sum {
        Sum {
            samples: self.samples,
            nanos: self.measure.nanos,
        }
    }
}

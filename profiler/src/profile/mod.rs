//! [`NamedSample`](crate::symbolize::NamedSample) → [`Profile`]: samples summed per service and window.
//!
//! Pure: no files, sockets or clocks. In: named samples. Out: profiles, and their text and binary
//! forms. Must not know servers, retries or paths.

pub mod aggregate;
pub mod coverage;
pub mod folded;
pub mod labels;
pub mod pprof;
pub mod proto;
#[cfg(test)]
pub(crate) mod samples;
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
pub use labels::{LabelSet, Labels, SpanLabel};
pub use span_table::SpanTable;
pub use window::{Window, Windows};

use crate::{id::Service, symbolize::Frame};

/// One window of one service.
#[derive(Clone, Debug, PartialEq)]
pub struct Profile {
    /// Whose CPU it is.
    pub service: Arc<Service>,
    /// The time it covers.
    pub window: Window,
    /// CPU time one sample stands for, in nanoseconds.
    pub period: u64,
    /// The samples, one row for each distinct pair of stack and labels.
    pub rows: Vec<Row>,
}

/// All samples of a profile with the same stack and labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The stack, leaf first.
    pub stack: Arc<[Arc<Frame>]>,
    /// What is known of the samples besides their stack.
    pub labels: Labels,
    /// How many samples there were; never 0.
    pub count: u64,
}

impl Profile {
    /// How many samples it sums.
    pub fn samples(&self) -> u64 {
        self.rows.iter().map(|row| row.count).sum()
    }
}

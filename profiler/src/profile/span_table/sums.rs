//! What a row of the table sums up.

use std::{collections::HashMap, sync::Arc};

use crate::{
    measure::Sum,
    symbolize::{Frame, FrameKind, NamedSample},
};

/// The innermost Python function, with the C and kernel code that it called; in a stack without one the leaf.
fn own_function(sample: &NamedSample) -> Option<&Arc<Frame>> {
    let is_python = |frame: &&Arc<Frame>| frame.kind == FrameKind::Python;
    sample
        .stack
        .iter()
        .find(is_python)
        .or_else(|| sample.stack.first())
}

/// Samples of a row, and the functions that they are of.
#[derive(Clone, Debug, Default)]
pub(super) struct Sums {
    /// Spans seen to start.
    pub(super) spans: u64,
    /// Samples.
    pub(super) samples: Sum,
    /// Nanoseconds by function.
    pub(super) functions: HashMap<Arc<str>, u64>,
}

impl Sums {
    /// Counts a sample; of functions at most so many are told apart.
    pub(super) fn add(&mut self, sample: &NamedSample, most: usize) {
        self.samples.add(sample.measure);
        let nanos = sample.measure.nanos;
        let Some(function) = own_function(sample) else {
            return;
        };
        if let Some(sum) = self.functions.get_mut(&function.name) {
            *sum += nanos;
        } else if self.functions.len() < most {
            self.functions.insert(Arc::clone(&function.name), nanos);
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.samples.merge(other.samples);
        for (function, nanos) in &other.functions {
            *self.functions.entry(Arc::clone(function)).or_default() += nanos;
        }
    }
}

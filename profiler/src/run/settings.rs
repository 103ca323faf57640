//! How a session runs, and what it leaves.

use std::{collections::BTreeSet, fs::File, time::Duration};

use crate::{
    config::Sampling,
    id::ServiceAttribute,
    profile::{self, Coverage, Profile, SpanTable},
    targets::Scope,
};

/// Distinct stacks of a window.
const MAX_STACKS: usize = 100_000;

/// What is done with profiles when a window ends.
pub type OnWindow = Box<dyn FnMut(Vec<Profile>) + Send>;

/// How a session runs.
pub struct SessionSettings {
    /// Which processes.
    pub scope: Scope,
    /// What tells the profiles of a service apart, besides its name and namespace.
    pub told_apart: BTreeSet<ServiceAttribute>,
    /// How samples are summed.
    pub profile: profile::Settings,
    /// How long a window is, and what becomes of its profiles; `None`: one window, until the end.
    pub windows: Option<(Duration, OnWindow)>,
    /// Where to keep the records as they come off the ring, if at all.
    pub records: Option<File>,
}

impl SessionSettings {
    /// Settings of the profile room for these samples.
    pub fn profile(sampling: &Sampling) -> profile::Settings {
        profile::Settings {
            tick: sampling.tick(),
            span_label: sampling.span_label,
            max_stacks: MAX_STACKS,
        }
    }
}

/// What a session leaves.
pub struct Finished {
    /// The profiles of the last window.
    pub profiles: Vec<Profile>,
    /// Spans by CPU over the whole session.
    pub table: SpanTable,
    /// What share of each process's samples is in spans, over the whole session.
    pub coverage: Coverage,
}

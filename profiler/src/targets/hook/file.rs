//! A hook in one process.

use std::sync::Arc;

use super::{
    notes::{Hook, HookFacts},
    process_block::ProcessBlock,
};
use crate::{
    targets::{Mapping, elf::FileState, python::place::load_bias},
    time::BootNanos,
};

/// A hook in a process.
#[derive(Clone, Debug)]
pub struct HookInProcess {
    /// What the file says of it.
    pub hook: Hook,
    /// That file, if its probes can be used.
    pub file: Option<HookFile>,
    /// Whether the spans of the process are not known without its probes.
    pub need: Need,
    /// When it last used CPU time, as far as samples say, or was found.
    pub(super) ran: BootNanos,
    /// Whether its probes are on.
    pub probes: ProbesOn,
}

/// Whether a process needs the probes of its hook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Need {
    /// Its spans are known without.
    #[default]
    No,
    /// Until the agent has found what it has not made yet, and it makes that only if it runs: so an idle process does not
    /// need them.
    WhileItRuns,
    /// Its context cannot be read, or nobody has looked yet.
    Always,
}

/// Whether the probes of a hook are on: only then a thread that has told of no span is in none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProbesOn {
    /// Not yet, or not any more.
    #[default]
    No,
    /// Since then.
    Since(BootNanos),
    /// The kernel or the agent has refused to put them on.
    Refused,
}

impl HookInProcess {
    /// Whether it may be used.
    pub fn is_present(&self) -> bool {
        matches!(self.hook, Hook::Present(_))
    }
}

/// A hook's file in one process.
#[derive(Clone, Debug)]
pub struct HookFile {
    pub(super) state: FileState,
    pub(super) mapping: Mapping,
    pub(super) facts: Arc<HookFacts>,
    /// Where the process says what it is; `None` if that cannot be placed.
    pub process_block: Option<ProcessBlock>,
}

impl HookFile {
    pub(super) fn new(state: FileState, mapping: &Mapping, facts: &Arc<HookFacts>) -> Self {
        let bias = load_bias(&facts.segments, mapping);
        Self {
            state,
            mapping: mapping.clone(),
            facts: Arc::clone(facts),
            process_block: bias.map(|bias| {
                let place = |address: u64| address.wrapping_add(bias);
                ProcessBlock {
                    address: place(facts.process_block),
                    attributes: facts.process_attributes.map(place),
                }
            }),
        }
    }
}

//! A hook in one process.

use std::sync::Arc;

use super::{
    notes::{Hook, HookFacts},
    process_block::ProcessBlock,
};
use crate::targets::{Mapping, elf::FileState, python::place::load_bias};

/// A hook in a process.
#[derive(Clone, Debug)]
pub struct HookInProcess {
    /// What the file says of it.
    pub hook: Hook,
    /// That file, if its probes can be used.
    pub file: Option<HookFile>,
    /// Whether the spans of the process are not known without its probes.
    pub is_needed: bool,
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

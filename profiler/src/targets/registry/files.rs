//! What files of targets hold, looked at once per state of each file.

use std::collections::HashMap;

use super::facilities::{Facilities, FileFacts};
use crate::{
    id::Pid,
    targets::{
        Mapping,
        elf::{Elf, FileState},
        mappings,
    },
};

/// Files remembered; when full all are forgotten and looked at anew.
const MAX_FILES: usize = 16_384;

/// Answers by file state.
#[derive(Default)]
pub(super) struct Files {
    known: HashMap<FileState, FileFacts>,
}

impl Files {
    /// What facilities recognise in the file of a mapping, and the state that this is of; `None` if it cannot be
    /// opened.
    pub(super) fn facts(
        &mut self,
        pid: Pid,
        mapping: &Mapping,
        facilities: &Facilities,
    ) -> Option<(FileFacts, FileState)> {
        let file = mappings::open(pid, mapping).ok()?;
        let state = file.state;
        if let Some(facts) = self.known.get(&state) {
            return Some((FileFacts::clone(facts), state));
        }
        let data = file.data();
        let facts = facilities.recognise(Elf::parse(&data).ok().as_ref());
        if self.known.len() >= MAX_FILES {
            self.known.clear();
        }
        self.known.insert(state, FileFacts::clone(&facts));
        Some((facts, state))
    }
}

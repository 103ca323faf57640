//! What files of targets hold, looked at once per state of each file.

use std::{collections::HashMap, sync::Arc};

use super::{
    Mapping,
    elf::{Elf, FileState, OpenFile},
    mappings, probe,
    probe::Hook,
    python::detect::{Detection, detect},
};
use crate::id::Pid;

/// Files remembered; when full all are forgotten and looked at anew.
const MAX_FILES: usize = 16_384;

/// What one file holds.
#[derive(Debug)]
pub struct FileFacts {
    /// Whether it is a CPython.
    pub python: Detection,
    /// Whether it is the hook.
    pub hook: Hook,
}

/// Answers by file state.
#[derive(Debug, Default)]
pub struct Files {
    known: HashMap<FileState, Arc<FileFacts>>,
}

impl Files {
    /// The facts of the file of a mapping, with the file that they are of; `None` where it cannot be opened.
    pub fn facts(&mut self, pid: Pid, mapping: &Mapping) -> Option<(Arc<FileFacts>, OpenFile)> {
        let file = mappings::open(pid, mapping).ok()?;
        if let Some(facts) = self.known.get(&file.state) {
            return Some((facts.clone(), file));
        }
        let data = file.another().ok()?.data();
        let facts = Elf::parse(&data).map_or(
            FileFacts {
                python: Detection::NotPython,
                hook: Hook::Absent,
            },
            |elf| FileFacts {
                python: detect(&elf),
                hook: probe::find(&elf),
            },
        );
        let facts = Arc::new(facts);
        if self.known.len() >= MAX_FILES {
            self.known.clear();
        }
        self.known.insert(file.state, facts.clone());
        Some((facts, file))
    }
}

//! What files of targets hold, looked at once per state of each file.
//!
//! A worker opens and reads them: a file can lie on a server that does not answer.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::facilities::FileFacts;
use crate::{
    id::Pid,
    targets::{
        FileId, Mapping,
        elf::{Elf, FileState},
        facility::Recognise,
        mappings,
    },
};

/// Files remembered; when full all are forgotten and looked at anew.
const MAX_FILES: usize = 16_384;

/// What facilities recognise in a file, and the state that this is of; `None` if it cannot be opened.
type File = Option<(FileState, FileFacts)>;

/// Some files of a process.
#[derive(Default)]
pub(super) struct FilesRead(HashMap<FileId, File>);

impl FilesRead {
    /// What is known of a file; `None` if it was not read.
    pub(super) fn get(&self, file: FileId) -> Option<&File> {
        self.0.get(&file)
    }
}

/// Reads files, by a worker.
#[derive(Clone)]
pub(super) struct Files {
    recognise: Arc<[Recognise]>,
    /// Facts by file state. No thread holds the lock while it reads a file.
    known: Arc<Mutex<HashMap<FileState, FileFacts>>>,
}

impl Files {
    pub(super) fn new(recognise: Arc<[Recognise]>) -> Self {
        Self {
            recognise,
            known: Arc::default(),
        }
    }

    /// Reads the files of these mappings, each once. Can block.
    pub(super) fn read(&self, pid: Pid, mappings: &[Mapping]) -> FilesRead {
        let mut files = HashMap::new();
        for mapping in mappings {
            if let Entry::Vacant(file) = files.entry(mapping.file) {
                file.insert(self.read_one(pid, mapping));
            }
        }
        FilesRead(files)
    }

    fn read_one(&self, pid: Pid, mapping: &Mapping) -> File {
        let file = mappings::open(pid, mapping).ok()?;
        let state = file.state;
        if let Some(facts) = self.known().get(&state) {
            return Some((state, FileFacts::clone(facts)));
        }
        let data = file.data();
        let elf = Elf::parse(&data).ok();
        let recognise = self.recognise.iter();
        let facts: FileFacts = recognise.map(|it| it(elf.as_ref()?)).collect();
        let mut known = self.known();
        if known.len() >= MAX_FILES {
            known.clear();
        }
        known.insert(state, FileFacts::clone(&facts));
        Some((state, facts))
    }

    fn known(&self) -> MutexGuard<'_, HashMap<FileState, FileFacts>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

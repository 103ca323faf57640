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
        elf::{Data, Elf, ElfError, FileState, data_of},
        facility::Recognise,
        mappings,
    },
};

/// Files remembered; when full all are forgotten and looked at anew.
const MAX_FILES: usize = 16_384;

/// What facilities recognise in a file, and the state that this is of; or why it cannot be read.
type File = Result<(FileState, FileFacts), ElfError>;

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
        let file = match mappings::open(pid, mapping) {
            Ok(file) => file,
            Err(error) if error.is_permanent() => {
                return self.read_loaded(pid, mapping).ok_or(error);
            }
            Err(error) => return Err(error),
        };
        let state = file.state;
        if let Some(facts) = self.known().get(&state) {
            return Ok((state, FileFacts::clone(facts)));
        }
        let facts = self.recognise(&file.data());
        let mut known = self.known();
        if known.len() >= MAX_FILES {
            known.clear();
        }
        known.insert(state, FileFacts::clone(&facts));
        Ok((state, facts))
    }

    /// What the memory of a process holds of a file that cannot be opened: a file system in user space (FUSE) may show
    /// its files to nobody but the user that has mounted it. Nothing is kept for other processes, as nothing says that
    /// their file is the same.
    fn read_loaded(&self, pid: Pid, mapping: &Mapping) -> Option<(FileState, FileFacts)> {
        let image = mappings::loaded(pid, mapping)?;
        let FileId { device, inode } = mapping.file;
        let state = FileState {
            device,
            inode,
            size: image.size(),
            modified: (0, 0),
        };
        Some((state, self.recognise(&data_of(image))))
    }

    fn recognise(&self, data: &Data) -> FileFacts {
        let elf = Elf::parse(data).ok();
        let recognise = self.recognise.iter();
        recognise.map(|it| it(elf.as_ref()?)).collect()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<FileState, FileFacts>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

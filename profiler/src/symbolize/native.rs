//! Native addresses → frames, by the symbols of the mapped file.
//!
//! This module reads no files: the control side reads them, and their symbols arrive some milliseconds after they were
//! requested. [`waiting`](super::waiting) holds the samples that wait for them.

use std::{num::NonZeroUsize, sync::Arc};

use lru::LruCache;

use super::{
    Frame, FrameKind, MappedFile,
    files::{Files, Known},
};
use crate::{
    health::Loss,
    id::Pid,
    targets::{
        FileId, Interpreter, Mapping,
        symbols::{FileSymbols, Unnamed, Wanted},
    },
    time::BootNanos,
};

/// Addresses kept ready, over all files.
const MAX_ADDRESSES: usize = 65_536;
/// Files of interpreters kept ready.
const MAX_INTERPRETERS: usize = 128;

/// A frame, and why it has no name.
pub(super) type Named = (Arc<Frame>, Option<Unnamed>);

/// Code whose file's symbols have not arrived yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    file: FileId,
    offset: u64,
    kind: FrameKind,
    path: Arc<str>,
}

/// Frames by file and offset.
#[derive(Debug)]
pub(super) struct NativeFrames {
    files: Files,
    frames: LruCache<(FileId, u64, FrameKind), Named>,
    interpreters: LruCache<FileId, Arc<MappedFile>>,
}

impl NativeFrames {
    pub(super) fn new() -> Self {
        let some = |number| NonZeroUsize::new(number).unwrap_or(NonZeroUsize::MIN);
        Self {
            files: Files::default(),
            frames: LruCache::new(some(MAX_ADDRESSES)),
            interpreters: LruCache::new(some(MAX_INTERPRETERS)),
        }
    }

    /// The file of an interpreter, named.
    pub(super) fn interpreter(&mut self, it: &Interpreter) -> Arc<MappedFile> {
        let mapped = MappedFile {
            path: it.path.to_string(),
            build_id: it.build_id.to_string(),
        };
        match self.interpreters.get(&it.file) {
            Some(ready) if **ready == mapped => Arc::clone(ready),
            _ => {
                let mapped = Arc::new(mapped);
                self.interpreters.put(it.file, Arc::clone(&mapped));
                mapped
            }
        }
    }

    /// Names an address inside a mapping of code of a kind; `Err` while the symbols of its file are on their way.
    pub(super) fn frame(
        &mut self,
        pid: Pid,
        address: u64,
        mapping: &Mapping,
        kind: FrameKind,
        now: BootNanos,
    ) -> Result<Named, Place> {
        let offset = (address - mapping.addresses.start.min(address)) + mapping.file_offset;
        if let Some(ready) = self.frames.get(&(mapping.file, offset, kind)) {
            return Ok(ready.clone());
        }
        let place = Place {
            file: mapping.file,
            offset,
            kind,
            path: Arc::clone(&mapping.path),
        };
        if mapping.file.inode == 0 {
            return Ok(place.unnamed(Unnamed::NoFile));
        }
        self.files.ask(pid, mapping, now);
        self.resolve(&place, now).ok_or(place)
    }

    /// Names a frame that has waited; `None` if it must wait on.
    pub(super) fn resolve(&mut self, place: &Place, now: BootNanos) -> Option<Named> {
        let named = match self.files.known(place.file, now) {
            Known::NotYet => return None,
            Known::Late => return Some(place.unnamed(Unnamed::Late)),
            Known::Symbols(symbols, mapped) => match symbols.name(place.offset) {
                Ok(name) => (place.frame(name, true, mapped), None),
                Err(reason) => (place.frame(place.text(), false, mapped), Some(reason)),
            },
        };
        if !named.1.is_some_and(Unnamed::may_pass) {
            let key = (place.file, place.offset, place.kind);
            self.frames.put(key, named.clone());
        }
        Some(named)
    }

    /// Files whose symbols are wanted, since this was last called.
    pub(super) fn take_wanted(&mut self) -> Vec<Wanted> {
        self.files.take_wanted()
    }

    /// Stores the result of reading a file.
    pub(super) fn learn(&mut self, wanted: &Wanted, symbols: FileSymbols, now: BootNanos) {
        self.files.learn(wanted, symbols, now);
    }
}

impl Place {
    /// The place in the file, used if there is no name.
    fn text(&self) -> String {
        let file = self.path.rsplit('/').next().unwrap_or_default();
        format!("{file}+{:#x}", self.offset)
    }

    /// The frame once its symbols are no longer waited for.
    pub(super) fn late(&self) -> Arc<Frame> {
        self.unnamed(Unnamed::Late).0
    }

    fn unnamed(&self, reason: Unnamed) -> Named {
        let mapped = MappedFile {
            path: self.path.to_string(),
            build_id: String::new(),
        };
        let frame = self.frame(self.text(), false, &Arc::new(mapped));
        (frame, Some(reason))
    }

    fn frame(&self, name: String, is_named: bool, mapping: &Arc<MappedFile>) -> Arc<Frame> {
        Arc::new(Frame {
            kind: self.kind,
            name: name.into(),
            is_named,
            file: "".into(),
            line: 0,
            start_line: 0,
            mapping: Arc::clone(mapping),
        })
    }
}

/// The loss that a frame without a name counts as.
pub(super) fn loss(reason: Unnamed) -> Loss {
    match reason {
        Unnamed::NoSymbol => Loss::NativeUnknown,
        Unnamed::NoFile => Loss::NativeNoFile,
        Unnamed::Unreadable => Loss::NativeUnreadable,
        Unnamed::Malformed => Loss::NativeMalformed,
        Unnamed::TooLarge => Loss::NativeTooLarge,
        Unnamed::Late => Loss::NativeLate,
    }
}

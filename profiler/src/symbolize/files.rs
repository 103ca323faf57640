//! The symbols of files, as far as they have arrived.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use lru::LruCache;

use super::MappedFile;
use crate::{
    id::Pid,
    targets::{
        FileId, Mapping,
        symbols::{FileSymbols, MAX_BYTES, MAX_FILES, Unnamed, Wanted},
    },
    time::BootNanos,
};

/// How long samples wait for a file's symbols. Longer than a file that blocks holds up its reader, so that the files
/// behind it still come in time.
const PATIENCE: Duration = Duration::from_secs(3);
/// When a file that could not be read is tried again: perhaps the process through which it was opened was about to end.
const AGAIN: Duration = Duration::from_secs(10);

/// What is known of a file.
pub(super) enum Known<'files> {
    /// Nothing: its symbols are on their way.
    NotYet,
    /// Nothing, and samples wait no longer.
    Late,
    /// What was read.
    Symbols(&'files FileSymbols, &'files Arc<MappedFile>),
}

/// Files by their id.
#[derive(Debug)]
pub(super) struct Files {
    states: LruCache<FileId, State>,
    /// Bytes of all symbols.
    bytes: usize,
    wanted: Vec<Wanted>,
}

#[derive(Debug)]
enum State {
    /// It was requested at this time and is being read.
    Asked(BootNanos),
    Read {
        symbols: FileSymbols,
        mapped: Arc<MappedFile>,
        /// When to read it again, if ever.
        again: Option<BootNanos>,
    },
}

impl State {
    fn bytes(&self) -> usize {
        match self {
            Self::Asked(_) => 0,
            Self::Read { symbols, .. } => symbols.bytes(),
        }
    }
}

impl Default for Files {
    fn default() -> Self {
        let most = NonZeroUsize::new(MAX_FILES).unwrap_or(NonZeroUsize::MIN);
        Self {
            states: LruCache::new(most),
            bytes: 0,
            wanted: Vec::new(),
        }
    }
}

impl Files {
    /// Requests a file that a process maps, unless that was done.
    pub(super) fn ask(&mut self, pid: Pid, mapping: &Mapping, now: BootNanos) {
        match self.states.get_mut(&mapping.file) {
            Some(State::Read { again, .. }) if again.is_some_and(|again| again <= now) => {
                // Meanwhile the last result holds: samples do not wait for it twice.
                *again = None;
            }
            Some(_) => return,
            None => self.put(mapping.file, State::Asked(now)),
        }
        self.wanted.push(Wanted {
            pid,
            mapping: mapping.clone(),
        });
    }

    pub(super) fn take_wanted(&mut self) -> Vec<Wanted> {
        std::mem::take(&mut self.wanted)
    }

    /// Stores the result of a read. Late symbols are as right as others: they belong to a file, not to a moment.
    pub(super) fn learn(&mut self, wanted: &Wanted, symbols: FileSymbols, now: BootNanos) {
        let again = symbols.names.as_ref().err().filter(|it| it.may_pass());
        let again = again.map(|_| now.after(AGAIN));
        let mapped = MappedFile {
            path: wanted.mapping.path.to_string(),
            build_id: symbols.build_id.clone(),
        };
        let state = State::Read {
            symbols,
            mapped: Arc::new(mapped),
            again,
        };
        self.put(wanted.mapping.file, state);
        // A file that is dropped is read again when it is met again; names that were looked up are kept elsewhere.
        while self.bytes > MAX_BYTES
            && let Some((_, gone)) = self.states.pop_lru()
        {
            self.bytes -= gone.bytes();
        }
    }

    pub(super) fn known(&mut self, file: FileId, now: BootNanos) -> Known<'_> {
        match self.states.get(&file) {
            Some(State::Asked(since)) if now.since(*since) < PATIENCE => Known::NotYet,
            Some(State::Asked(_)) | None => Known::Late,
            Some(State::Read {
                symbols, mapped, ..
            }) => match symbols.names {
                Err(Unnamed::Late) => Known::Late,
                _ => Known::Symbols(symbols, mapped),
            },
        }
    }

    fn put(&mut self, file: FileId, state: State) {
        self.bytes += state.bytes();
        if let Some((_, gone)) = self.states.push(file, state) {
            self.bytes -= gone.bytes();
        }
    }
}

//! Line tables that come in parts: kept until they are whole. Pure.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Weak},
};

use lru::LruCache;

use crate::{
    events::{CodeId, LineTablePart},
    id::ProcessKey,
};

/// Tables that may be under way at once: a CPU sends all parts of one before it sends another.
const UNDER_WAY: usize = 64;
/// Bytes that the long tables of all functions may take.
const ROOM: usize = 64 << 20;

/// Which code object a table is of.
type Key = (ProcessKey, CodeId);

/// Tables under way, and those that have come, each in an `Owner`.
#[derive(Debug)]
pub(super) struct LongTables<Owner> {
    /// What has come of a table behind its first part.
    under_way: LruCache<Key, Vec<u8>>,
    /// Owners of a table that came in parts, with its size, as long as anything needs them.
    whole: Vec<(Weak<Owner>, usize)>,
}

impl<Owner> Default for LongTables<Owner> {
    fn default() -> Self {
        Self {
            under_way: LruCache::new(NonZeroUsize::new(UNDER_WAY).unwrap_or(NonZeroUsize::MIN)),
            whole: Vec::new(),
        }
    }
}

impl<Owner> LongTables<Owner> {
    /// Takes a part. Returns all that comes behind the first `first` bytes of the table, if this part is the last.
    /// A part that does not follow those before it is dropped, and with it the table: it remains cut.
    pub(super) fn add(&mut self, part: &LineTablePart, first: usize) -> Option<Vec<u8>> {
        let key = (part.process, part.code);
        let mut rest = self.under_way.pop(&key).unwrap_or_default();
        if part.offset != first + rest.len() {
            return None;
        }
        rest.extend_from_slice(&part.bytes);
        if part.is_last {
            return Some(rest);
        }
        self.under_way.put(key, rest);
        None
    }

    /// Whether there is room for a table of this size.
    pub(super) fn has_room(&mut self, size: usize) -> bool {
        self.whole.retain(|(owner, _)| owner.strong_count() > 0);
        let used: usize = self.whole.iter().map(|(_, size)| size).sum();
        used + size <= ROOM
    }

    /// Counts the table of an owner, unless that was done.
    pub(super) fn keep(&mut self, owner: &Arc<Owner>, size: usize) {
        let is_same =
            |(it, _): &(Weak<Owner>, usize)| std::ptr::eq(it.as_ptr(), Arc::as_ptr(owner));
        if !self.whole.iter().any(is_same) {
            self.whole.push((Arc::downgrade(owner), size));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{LongTables, ROOM};
    use crate::{
        events::{CodeId, LineTablePart},
        id::{Pid, ProcessKey},
    };

    fn part(address: u64, offset: usize, is_last: bool) -> LineTablePart {
        LineTablePart {
            process: ProcessKey {
                pid: Pid(1),
                start_time: 1,
            },
            code: CodeId {
                address,
                checksum: 1,
            },
            offset,
            bytes: vec![u8::try_from(offset).unwrap(); 2],
            is_last,
            is_cut: false,
        }
    }

    /// Parts of several tables may come in turn; a table is there with its last part.
    #[test]
    fn parts_are_put_together() {
        let mut tables = LongTables::<()>::default();
        assert_eq!(tables.add(&part(1, 10, false), 10), None);
        assert_eq!(tables.add(&part(2, 10, false), 10), None);
        assert_eq!(
            tables.add(&part(1, 12, true), 10),
            Some(vec![10, 10, 12, 12])
        );
        assert_eq!(
            tables.add(&part(2, 12, true), 10),
            Some(vec![10, 10, 12, 12])
        );
    }

    /// Only tables that something still needs take room.
    #[test]
    fn room_is_for_what_is_needed() {
        let mut tables = LongTables::default();
        let owner = Arc::new(());
        tables.keep(&owner, ROOM);
        tables.keep(&owner, ROOM);
        assert!(!tables.has_room(1));
        drop(owner);
        assert!(tables.has_room(ROOM) && !tables.has_room(ROOM + 1));
    }

    /// If a part is missing, the table does not come.
    #[test]
    fn a_gap_ends_a_table() {
        let mut tables = LongTables::<()>::default();
        assert_eq!(tables.add(&part(1, 10, false), 10), None);
        assert_eq!(tables.add(&part(1, 14, false), 10), None);
        assert_eq!(tables.add(&part(1, 16, true), 10), None);
    }
}

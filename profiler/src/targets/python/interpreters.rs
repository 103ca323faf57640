//! The interpreters of a process, in its memory.

use profiler_common::{limits::MAX_SUBINTERPRETERS, walk::ReadUser as _};

use super::{detect::Facts, globals::Globals};
use crate::{kernel::InterpreterId, targets::look::memory::Memory};

/// How often the list is read, if an interpreter is destroyed meanwhile.
const ATTEMPTS: u32 = 8;

/// Where the interpreters of a process are read.
pub struct Interpreters<'a> {
    /// Its memory.
    pub memory: &'a Memory,
    /// Facts of the file.
    pub facts: &'a Facts,
    /// Where its global objects are.
    pub globals: Globals,
    /// What was added to the addresses of the file.
    pub bias: u64,
}

/// Whether a list has its end: the main interpreter is made first, ends last, and its id is 0. A process that begins or
/// ends has none.
fn is_whole(list: &[InterpreterId]) -> bool {
    list.len() > MAX_SUBINTERPRETERS || list.last().is_none_or(|it| it.id == 0)
}

impl Interpreters<'_> {
    /// All of them, the newest first; those that lie behind more than are looked at are left out. `None` if the list is
    /// changed each time that it is read: if an interpreter is destroyed meanwhile, the rest of the list may be missed.
    pub fn all(&self) -> Option<Vec<InterpreterId>> {
        let mut lists = (0..ATTEMPTS).map(|_| self.listed());
        lists.find(|it| is_whole(it))
    }

    fn listed(&self) -> Vec<InterpreterId> {
        let layout = &self.facts.layout;
        let runtime = self.globals.runtime;
        let word = |address: u64| self.memory.read_u64(address).filter(|&it| it != 0);
        let head = word(runtime.wrapping_add(u64::from(layout.runtime_interpreters)));
        let next = |&address: &u64| word(address.wrapping_add(u64::from(layout.interpreter_next)));
        std::iter::successors(head, next)
            .take(MAX_SUBINTERPRETERS + 1)
            .filter_map(|address| {
                let id = address.wrapping_add(u64::from(layout.interpreter_id));
                let id = self.memory.read_u64(id)?;
                Some(InterpreterId { address, id })
            })
            .collect()
    }

    /// Where the main interpreter (3.12: the process) counts the code objects it makes.
    pub fn code_count(&self, main_interpreter: u64) -> Option<u64> {
        match self.facts.code_counter {
            Some(of_process) => Some(of_process.wrapping_add(self.bias)),
            None => self.count_of(main_interpreter),
        }
    }

    /// An interpreter's own count, if what lies behind it is what should: the cache of functions by
    /// version. The offset is not published.
    fn count_of(&self, interpreter: u64) -> Option<u64> {
        /// Entries of the cache that are looked at: two pointers each, to a function and its code.
        const ENTRIES: usize = 1024;
        /// Those that must be there: an interpreter that has started has made hundreds of functions.
        const ENOUGH: usize = 16;
        let offset = self.facts.interpreter_code_version;
        if offset == 0 {
            return None;
        }
        let mut cache = vec![0; 16 * ENTRIES];
        let place = interpreter.wrapping_add(self.facts.interpreter_version_cache);
        if !self.memory.fill(place, &mut cache) {
            return None;
        }
        let class = u64::from(self.facts.layout.object_type);
        let mut found = 0;
        for entry in cache.as_chunks::<16>().0 {
            let code = entry.last_chunk().map_or(0, |it| u64::from_le_bytes(*it));
            if code == 0 {
                continue;
            }
            if self.memory.read_u64(code.wrapping_add(class))? != self.globals.code_type {
                return None;
            }
            found += 1;
            if found == ENOUGH {
                return Some(interpreter.wrapping_add(offset));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::is_whole;
    use crate::kernel::InterpreterId;

    /// A list that was torn ends elsewhere than at the main interpreter.
    #[test]
    fn torn_lists_are_told() {
        let list = |ids: &[u64]| -> Vec<InterpreterId> {
            let ids = ids.iter();
            ids.map(|&id| InterpreterId { address: 16, id }).collect()
        };
        assert!(is_whole(&list(&[])) && is_whole(&list(&[0])) && is_whole(&list(&[7, 3, 0])));
        assert!(!is_whole(&list(&[7])) && !is_whole(&list(&[7, 3])));
    }
}

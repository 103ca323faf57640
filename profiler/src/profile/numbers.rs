//! Values as small numbers: equal values get equal numbers, and are stored once.

use std::{collections::HashMap, hash::Hash, sync::Arc};

/// Values found without a hash of their contents: by a number that the caller has at hand. A power of two.
const RECENT: usize = 1 << RECENT_BITS;
const RECENT_BITS: u32 = 10;

/// Numbers for values, dense from 0.
#[derive(Debug)]
pub(super) struct Numbers<T> {
    values: Vec<Arc<T>>,
    by_value: HashMap<Arc<T>, u32>,
    /// Numbers of recently used values, by their hints.
    recent: Vec<u32>,
}

impl<T: Eq + Hash> Numbers<T> {
    /// The number of the value that `is_it`; `None` if it has none yet and there `may` be no more of them. Equal values
    /// must have equal hints; if different values have equal hints, they are looked up by content, which is slower
    /// but correct.
    pub(super) fn number(
        &mut self,
        hint: u64,
        is_it: impl FnOnce(&T) -> bool,
        value: impl FnOnce() -> T,
        may_grow: bool,
    ) -> Option<u32> {
        let slot = slot(hint);
        let recent = self.recent.get(slot).copied();
        if let Some(number) = recent
            && let Some(known) = self.get(number)
            && is_it(known)
        {
            return Some(number);
        }
        let number = self.by_content(value(), may_grow)?;
        if self.recent.is_empty() {
            self.recent.resize(RECENT, u32::MAX);
        }
        if let Some(recent) = self.recent.get_mut(slot) {
            *recent = number;
        }
        Some(number)
    }

    fn by_content(&mut self, value: T, may_grow: bool) -> Option<u32> {
        if let Some(&number) = self.by_value.get(&value) {
            return Some(number);
        }
        if !may_grow {
            return None;
        }
        let number = u32::try_from(self.values.len()).ok()?;
        let value = Arc::new(value);
        self.values.push(Arc::clone(&value));
        self.by_value.insert(value, number);
        Some(number)
    }

    /// The value with a number.
    pub(super) fn get(&self, number: u32) -> Option<&Arc<T>> {
        self.values.get(usize::try_from(number).ok()?)
    }

    /// All of them, in the order of their numbers.
    pub(super) fn values(&self) -> &[Arc<T>] {
        &self.values
    }

    pub(super) fn clear(&mut self) {
        self.values.clear();
        self.by_value.clear();
        self.recent.clear();
    }
}

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self {
            values: Vec::new(),
            by_value: HashMap::new(),
            recent: Vec::new(),
        }
    }
}

/// The upper bits of a product are those that depend on all bits of the hint.
fn slot(hint: u64) -> usize {
    let spread = hint.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - RECENT_BITS);
    usize::try_from(spread).unwrap_or(0)
}

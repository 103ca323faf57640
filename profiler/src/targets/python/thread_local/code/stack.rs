//! What is known of the stack of a thread.

use crate::targets::python::thread_local::value::Value;

/// Its words, by their offset from where the return address is.
#[derive(Default)]
pub(super) struct Stack(Vec<(i64, Value)>);

impl Stack {
    /// The word at an offset.
    pub(super) fn word(&self, offset: i64) -> Value {
        let mut words = self.0.iter();
        words
            .find(|(at, _)| *at == offset)
            .map_or(Value::Unknown, |(_, value)| *value)
    }

    /// Writes a word: of those that it overlaps nothing is known any more.
    pub(super) fn set(&mut self, offset: i64, value: Value) {
        self.0.retain(|(at, _)| at.abs_diff(offset) >= 8);
        self.0.push((offset, value));
    }
}

//! Stacks → the frames of them that a reader of a flame graph wants to see.
//!
//! Most samples of a Python program end in the interpreter's machinery, or in a library without symbols: if these are
//! shown unchanged, they hide the function of the program that uses the time.

use std::{collections::HashMap, sync::Arc};

use super::stacks::AddressHash;
use crate::symbolize::{Frame, FrameKind, MappedFile};

/// Which frames of machine code are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NativeFrames {
    /// None above a Python frame, not even the kernel's.
    PythonOnly,
    /// Those of libraries, of extension modules and of the kernel; the interpreter's own machinery is
    /// a part of the Python frame it runs, and code without a symbol is one frame for each library.
    #[default]
    Merged,
    /// All, unchanged.
    Full,
}

/// Frames, leaf first.
type Stack = Arc<[Arc<Frame>]>;

/// Maps stacks to those that are shown.
pub(super) struct Stacks {
    native: NativeFrames,
    shown: Vec<Shown>,
    /// The last stack that is shown, by the hash of its frames' addresses.
    by_hash: HashMap<usize, usize, AddressHash>,
    /// The shown stack for a stack that several rows have, by that one's address; the profile keeps it alive.
    by_address: HashMap<usize, usize, AddressHash>,
    /// For each file the one frame that stands for all of its code without symbols, which such frames become.
    nameless: HashMap<(FrameKind, Arc<MappedFile>), Arc<Frame>>,
    nameless_by_address: HashMap<usize, Arc<Frame>, AddressHash>,
    /// The frames above the first Python frame of the current stack; kept for its allocation.
    above: Vec<Arc<Frame>>,
}

/// A stack that is shown.
struct Shown {
    stack: Stack,
    /// How many stacks have become this one.
    members: usize,
    /// The previous one with the same hash.
    before: Option<usize>,
}

impl Stacks {
    /// For a profile with this many rows.
    pub(super) fn new(native: NativeFrames, rows: usize) -> Self {
        Self {
            native,
            shown: Vec::with_capacity(rows),
            by_hash: HashMap::with_capacity_and_hasher(rows, AddressHash::default()),
            by_address: HashMap::default(),
            nameless: HashMap::new(),
            nameless_by_address: HashMap::default(),
            above: Vec::new(),
        }
    }

    /// The number of the shown stack for a stack. The stack must stay alive: its address is remembered.
    pub(super) fn number(&mut self, stack: &Stack) -> usize {
        // No other row has it: it will not come again.
        if Arc::strong_count(stack) == 1 {
            return self.enter(stack);
        }
        let address = Arc::as_ptr(stack).addr();
        if let Some(&number) = self.by_address.get(&address) {
            return number;
        }
        let number = self.enter(stack);
        self.by_address.insert(address, number);
        number
    }

    /// The shown stack with a number.
    pub(super) fn shown(&self, number: usize) -> Option<&Stack> {
        self.shown.get(number).map(|shown| &shown.stack)
    }

    /// Whether several stacks have become this one.
    pub(super) fn is_shared(&self, number: usize) -> bool {
        self.shown.get(number).is_some_and(|it| it.members > 1)
    }

    fn enter(&mut self, stack: &Stack) -> usize {
        if self.native == NativeFrames::Full {
            return self.push(Arc::clone(stack), None);
        }
        let rest = self.fold(stack);
        let frames = || self.above.iter().chain(rest);
        let length = self.above.len() + rest.len();
        let hash = frames().fold(0, |hash: usize, frame| {
            let address = Arc::as_ptr(frame).addr();
            (hash.rotate_left(5) ^ address).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        let last = self.by_hash.get(&hash).copied();
        let mut candidate = last;
        while let Some(number) = candidate
            && let Some(shown) = self.shown.get_mut(number)
        {
            let is_it = shown.stack.len() == length
                && shown
                    .stack
                    .iter()
                    .zip(frames())
                    .all(|(one, other)| Arc::ptr_eq(one, other));
            if is_it {
                shown.members += 1;
                return number;
            }
            candidate = shown.before;
        }
        let shown = if length == stack.len() && self.above.is_empty() {
            Arc::clone(stack)
        } else {
            frames().cloned().collect()
        };
        let number = self.push(shown, last);
        self.by_hash.insert(hash, number);
        number
    }

    fn push(&mut self, stack: Stack, before: Option<usize>) -> usize {
        self.shown.push(Shown {
            stack,
            members: 1,
            before,
        });
        self.shown.len() - 1
    }

    /// Puts the frames to show above the unchanged part of a stack into `above`, and returns that part. Machine code is
    /// at the leaf of a stack, above all Python frames.
    fn fold<'stack>(&mut self, stack: &'stack Stack) -> &'stack [Arc<Frame>] {
        self.above.clear();
        let python = stack
            .iter()
            .position(|frame| frame.kind == FrameKind::Python);
        let (hides, hides_all) = (python.is_some(), self.native == NativeFrames::PythonOnly);
        let is_hidden = |frame: &Frame| match frame.kind {
            FrameKind::Interpreter => hides,
            FrameKind::Native | FrameKind::Kernel => hides && hides_all,
            FrameKind::Python | FrameKind::Marker => false,
        };
        let (above, rest) = stack.split_at(python.unwrap_or(stack.len()));
        if above.iter().all(|it| it.is_named && !is_hidden(it)) {
            return stack;
        }
        for frame in above.iter().filter(|frame| !is_hidden(frame)) {
            if frame.is_named {
                self.above.push(Arc::clone(frame));
                continue;
            }
            let nameless = self.nameless(frame);
            // A call from one function without a name to the next is not shown.
            let is_again = |last: &Arc<Frame>| Arc::ptr_eq(last, &nameless);
            if !self.above.last().is_some_and(is_again) {
                self.above.push(nameless);
            }
        }
        rest
    }

    /// The frame that stands for code without a symbol: the file it is in.
    fn nameless(&mut self, frame: &Arc<Frame>) -> Arc<Frame> {
        let address = Arc::as_ptr(frame).addr();
        if let Some(known) = self.nameless_by_address.get(&address) {
            return Arc::clone(known);
        }
        let key = (frame.kind, Arc::clone(&frame.mapping));
        let made = self.nameless.entry(key).or_insert_with(|| {
            let path = &frame.mapping.path;
            let name: Arc<str> =
                format!("{} (no symbol)", path.rsplit('/').next().unwrap_or(path)).into();
            if name == frame.name {
                return Arc::clone(frame);
            }
            Arc::new(Frame {
                name,
                ..Frame::clone(frame)
            })
        });
        self.nameless_by_address.insert(address, Arc::clone(made));
        Arc::clone(made)
    }
}

#[cfg(test)]
mod tests;

//! Stacks as small numbers: equal stacks get equal numbers.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use crate::symbolize::Frame;

/// Allocations of frames remembered by address in one window. More are looked up by content, which is slower but
/// correct.
const MAX_FRAME_ADDRESSES: usize = 1 << 18;
/// The same for stacks, each of which takes more memory.
const MAX_STACK_ADDRESSES: usize = 1 << 13;

/// By an allocation's address: the allocation is kept alive beside its number, so that no other value can get the
/// address.
type ByAddress<T> = HashMap<usize, (Arc<T>, u32), AddressHash>;
/// Frames, leaf first.
type Stack = [Arc<Frame>];

/// Numbers for stacks, dense from 0. Equal frames of the stacks in it are one allocation.
#[derive(Debug, Default)]
pub(super) struct StackTable {
    stacks: Vec<Arc<Stack>>,
    by_content: HashMap<Box<[u32]>, u32>,
    by_address: ByAddress<Stack>,
    frames: FrameTable,
    /// Frame numbers of the current stack; kept for its allocation.
    scratch: Vec<u32>,
}

impl StackTable {
    /// A stack's number; `None` if it has none yet and the table may not grow (`may_grow`).
    pub(super) fn number(&mut self, stack: &Arc<Stack>, may_grow: bool) -> Option<u32> {
        let address = Arc::as_ptr(stack).addr();
        if let Some((_, number)) = self.by_address.get(&address) {
            return Some(*number);
        }
        self.scratch.clear();
        for frame in &**stack {
            self.scratch.push(self.frames.number(frame, may_grow)?);
        }
        let number = match self.by_content.get(self.scratch.as_slice()) {
            Some(&number) => number,
            None if may_grow => {
                let number = u32::try_from(self.stacks.len()).ok()?;
                let stack = self.frames.only_known(stack);
                self.stacks.push(stack);
                self.by_content
                    .insert(self.scratch.as_slice().into(), number);
                number
            }
            None => return None,
        };
        if self.by_address.len() < MAX_STACK_ADDRESSES {
            let entry = (Arc::clone(stack), number);
            self.by_address.insert(address, entry);
        }
        Some(number)
    }

    /// The stack with a number.
    pub(super) fn get(&self, number: u32) -> Option<&Arc<Stack>> {
        self.stacks.get(usize::try_from(number).ok()?)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.stacks.len()
    }

    pub(super) fn clear(&mut self) {
        self.stacks.clear();
        self.by_content.clear();
        self.by_address.clear();
        self.frames.by_content.clear();
        self.frames.by_address.clear();
        self.frames.has_twins = false;
    }
}

/// Numbers for frames, dense from 0.
#[derive(Debug, Default)]
struct FrameTable {
    by_content: HashMap<Arc<Frame>, u32>,
    by_address: ByAddress<Frame>,
    /// Whether equal frames have come at different addresses.
    has_twins: bool,
}

impl FrameTable {
    /// A frame's number; `None` if it has none yet and the table may not grow (`may_grow`).
    fn number(&mut self, frame: &Arc<Frame>, may_grow: bool) -> Option<u32> {
        let address = Arc::as_ptr(frame).addr();
        if let Some((_, number)) = self.by_address.get(&address) {
            return Some(*number);
        }
        let number = match self.by_content.get(frame) {
            Some(&number) => {
                self.has_twins = true;
                number
            }
            None if may_grow => {
                let number = u32::try_from(self.by_content.len()).ok()?;
                self.by_content.insert(Arc::clone(frame), number);
                number
            }
            None => return None,
        };
        if self.by_address.len() < MAX_FRAME_ADDRESSES {
            let entry = (Arc::clone(frame), number);
            self.by_address.insert(address, entry);
        }
        Some(number)
    }
}

impl FrameTable {
    /// The stack with every frame replaced by the first one that was equal to it.
    fn only_known(&self, stack: &Arc<Stack>) -> Arc<Stack> {
        if !self.has_twins {
            return Arc::clone(stack);
        }
        let known = |frame| Some(self.by_content.get_key_value(frame)?.0);
        let frames = stack.iter();
        frames
            .map(|frame| Arc::clone(known(frame).unwrap_or(frame)))
            .collect()
    }
}

/// Hashes addresses of our own allocations.
pub(super) type AddressHash = BuildHasherDefault<AddressHasher>;

/// Spreads the bits of an address. Our own allocator chose it, so no input can aim for collisions.
#[derive(Debug, Default)]
pub(super) struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0.rotate_left(8) ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn write_usize(&mut self, address: usize) {
        let mixed = (address as u64 >> 4).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

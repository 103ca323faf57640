//! Frames as small numbers: equal frames get equal numbers.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use crate::symbolize::Frame;

/// Allocations remembered by address in one window. More are looked up by content: slower, as right.
const MAX_ADDRESSES: usize = 1 << 18;

/// Numbers for frames, dense from 0.
#[derive(Debug, Default)]
pub(super) struct FrameTable {
    frames: Vec<Arc<Frame>>,
    by_content: HashMap<Arc<Frame>, u32>,
    /// The allocation is kept alive beside its number: its address cannot come to mean another frame.
    by_address: HashMap<usize, (Arc<Frame>, u32), BuildHasherDefault<AddressHasher>>,
}

impl FrameTable {
    /// A frame's number; `None` where it has none yet and the table `may_grow` no more.
    pub(super) fn number(&mut self, frame: &Arc<Frame>, may_grow: bool) -> Option<u32> {
        let address = Arc::as_ptr(frame).addr();
        if let Some((_, number)) = self.by_address.get(&address) {
            return Some(*number);
        }
        let number = match self.by_content.get(frame) {
            Some(&number) => number,
            None if may_grow => self.insert(frame)?,
            None => return None,
        };
        if self.by_address.len() < MAX_ADDRESSES {
            let entry = (Arc::clone(frame), number);
            self.by_address.insert(address, entry);
        }
        Some(number)
    }

    /// The frame with a number.
    pub(super) fn get(&self, number: u32) -> Option<&Arc<Frame>> {
        self.frames.get(usize::try_from(number).ok()?)
    }

    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.by_content.clear();
        self.by_address.clear();
    }

    fn insert(&mut self, frame: &Arc<Frame>) -> Option<u32> {
        let number = u32::try_from(self.frames.len()).ok()?;
        self.frames.push(Arc::clone(frame));
        self.by_content.insert(Arc::clone(frame), number);
        Some(number)
    }
}

/// Spreads the bits of an address. Our own allocator chose it, so nobody can aim for collisions.
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

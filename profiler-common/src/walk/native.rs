//! The walk of native frames by frame pointer.

use super::{Block, ReadUser};
use crate::{
    arch::{Architecture as _, Machine},
    limits::{MAX_NATIVE_FRAMES, STACK_WINDOW},
    outcome::Outcome,
};

/// Registers of an interrupted thread, as far as frame pointers need them.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    /// Instruction pointer.
    pub instruction: u64,
    /// Stack pointer.
    pub stack: u64,
    /// Frame pointer, in code built with one; anything in other code.
    pub frame: u64,
}

/// A walk of native frames by frame pointer under way: each frame points to its caller's, and the return address lies
/// above it. In code built without frame pointers the chain breaks, or skips frames: readers of the result must know
/// how far to trust it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NativeWalk {
    /// The frame to read next.
    pub frame: u64,
    /// No caller's frame can lie below this address: the stack grows down.
    pub lowest: u64,
    /// Addresses put so far.
    pub count: u32,
    /// How it ended, as a number of [`Outcome`], once [`Self::step`] has returned false.
    pub outcome: u32,
    /// Address of what `stack` holds.
    pub stack_start: u64,
    /// Bytes of it that are valid.
    pub stack_size: u64,
    /// The frame read last (its caller's frame, and the return address), and what lies above it: the frames of its
    /// callers. Reading several at once is cheaper than reading each.
    pub stack: Block<STACK_WINDOW>,
}

impl NativeWalk {
    /// Starts behind the interrupted instruction itself, which the caller puts at index 0.
    #[inline(always)]
    pub fn start(&mut self, registers: Registers) {
        self.frame = registers.frame;
        self.lowest = registers.stack;
        self.count = 1;
        self.outcome = Outcome::Truncated as u32;
        self.stack_size = 0;
    }

    /// Has the frame at an address in `stack`; returns its offset, or `None` if it cannot be read.
    #[inline(always)]
    fn frame_at<R: ReadUser>(&mut self, reader: &R, address: u64, ahead: bool) -> Option<u16> {
        /// Less than the block has, so that a mask bounds it for the verifier.
        const WINDOW: u64 = STACK_WINDOW as u64 - 8;
        const PAIR: u64 = Machine::FRAME_RECORD;
        let offset = address.wrapping_sub(self.stack_start);
        if ahead && offset < self.stack_size && self.stack_size - offset >= PAIR {
            return Some(offset as u16);
        }
        // Never into another page: one that cannot be read costs a fault.
        let page = Machine::PAGE - (address & (Machine::PAGE - 1));
        let size = match if page < WINDOW { page } else { WINDOW } {
            size if ahead && size >= PAIR => size,
            _ => PAIR,
        };
        self.stack_start = address;
        self.stack_size = 0;
        if !reader.read_part(address, size as u32, &mut self.stack) {
            return None;
        }
        self.stack_size = size;
        Some(0)
    }

    /// Takes one step outwards: passes at most one return address to `put` with its index. False if the walk has ended.
    /// `ahead`: reads what lies above a frame with it.
    #[inline(always)]
    pub fn step<R: ReadUser>(
        &mut self,
        reader: &R,
        ahead: bool,
        put: impl FnOnce(u32, u64),
    ) -> bool {
        let frame = self.frame;
        if frame == 0 {
            return self.end(Outcome::Complete);
        }
        if frame < self.lowest || frame & 7 != 0 {
            return self.end(Outcome::BrokenChain);
        }
        let Some(offset) = self.frame_at(reader, frame, ahead) else {
            return self.end(Outcome::BrokenChain);
        };
        let caller = self
            .stack
            .u64_at(offset.wrapping_add(Machine::RETURN_ADDRESS));
        if caller == 0 {
            return self.end(Outcome::Complete);
        }
        let count = self.count;
        if count >= MAX_NATIVE_FRAMES as u32 {
            return self.end(Outcome::Truncated);
        }
        put(count, caller);
        self.count = count + 1;
        self.lowest = frame.wrapping_add(Machine::FRAME_RECORD);
        self.frame = self
            .stack
            .u64_at(offset.wrapping_add(Machine::CALLER_FRAME));
        true
    }

    #[inline(always)]
    fn end(&mut self, outcome: Outcome) -> bool {
        self.outcome = outcome as u32;
        false
    }
}

//! What lies on a thread's stack.

use super::{Block, Position, ReadUser};
use crate::{
    arch::{Architecture as _, Machine},
    limits::CODE_BLOCK,
};

/// Bytes of a stack that are searched for a frame: see [`StackScan`].
const SCANNED: u64 = 16 << 10;

/// A check of the pages between a thread's stack pointer and a C frame above it. The pages of one stack have all been
/// used, and so are resident. Between two stacks that lie side by side there are some that were never used: the unused
/// end of the upper stack, or a guard.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct StackPages {
    /// The page to check next.
    pub next: u64,
    /// The last page.
    pub last: u64,
    /// Not 0 if all are there.
    pub is_whole: u64,
}

/// Pages checked in one step.
const PAGES_AT_ONCE: u32 = 8;

/// Steps that a check of pages may take: 1 MiB of stack.
pub const MAX_PAGE_STEPS: u32 = 32;

impl StackPages {
    /// Starts at the page after the stack pointer's.
    #[inline(always)]
    pub fn start(&mut self, position: &Position, frame: u64) {
        const PAGE: u64 = Machine::PAGE;
        *self = Self {
            next: (position.stack & !(PAGE - 1)).wrapping_add(PAGE),
            last: frame & !(PAGE - 1),
            is_whole: 0,
        };
    }

    /// Checks some pages; false if the check has ended.
    #[inline(always)]
    pub fn step<R: ReadUser>(&mut self, reader: &R) -> bool {
        for _ in 0..PAGES_AT_ONCE {
            if self.next > self.last {
                self.is_whole = 1;
                return false;
            }
            if reader.read_u64(self.next).is_none() {
                return false;
            }
            self.next = self.next.wrapping_add(Machine::PAGE);
        }
        true
    }
}

/// A scan for a frame on a thread's stack, before 3.10: the C function that runs a frame keeps the frame's address
/// there, and nothing in the state says where on the stack that is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct StackScan {
    /// The address to read next.
    pub next: u64,
    /// The end of the scan.
    pub end: u64,
    /// The value that is searched for.
    pub wanted: u64,
    /// Not 0 if it was found.
    pub is_found: u64,
}

/// Steps that a scan may take.
pub const MAX_SCAN_STEPS: u32 = SCANNED as u32 / CODE_BLOCK as u32;

impl StackScan {
    /// Starts at the stack pointer.
    #[inline(always)]
    pub fn start(&mut self, position: &Position, wanted: u64) {
        let start = position.stack & !7;
        let most = start.wrapping_add(SCANNED);
        // If the end is not known, the scan ends at a page that cannot be read.
        let end = position.stack_end;
        let is_shorter = end != 0 && end < most;
        *self = Self {
            next: start,
            end: if is_shorter { end } else { most },
            wanted,
            is_found: 0,
        };
    }

    /// Reads some words; false if the scan has ended.
    #[inline(always)]
    pub fn step<R: ReadUser>(&mut self, reader: &R, block: &mut Block<CODE_BLOCK>) -> bool {
        const SIZE: u16 = CODE_BLOCK as u16;
        if self.next >= self.end || !reader.read(self.next, u32::from(SIZE), block) {
            return false;
        }
        let mut at = 0;
        let mut difference = u64::MAX;
        while at < SIZE {
            let word = block.u64_at(at) ^ self.wanted;
            if word < difference {
                difference = word;
            }
            at += 8;
        }
        if difference == 0 {
            self.is_found = 1;
            return false;
        }
        self.next = self.next.wrapping_add(u64::from(SIZE));
        true
    }
}

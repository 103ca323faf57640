//! The CPython frame walk, and the walk of native frames by frame pointer.
//!
//! Generic over the memory it reads, so that the same code runs in the kernel program and in tests on any memory image.
//! It follows [`PythonLayout`] and knows no version. Every loop is bounded, and every address may be garbage: other
//! threads change memory that is not this thread's, so the walk believes nothing without a check (a thread state
//! carries its thread's id, a code object its type).
//!
//! Walks are taken step by step, with all state in one structure: in the kernel that lives in a
//! map, where the verifier does not track values, so every step looks the same to it.

#![expect(
    clippy::inline_always,
    reason = "a call passes five arguments at most in BPF, and costs where nothing else does"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "the limits are small; offsets within a block and instruction offsets are 16 and 32 bits wide"
)]
#![expect(
    clippy::cast_ptr_alignment,
    reason = "blocks are aligned to 8 bytes, and offsets are masked to their field's size"
)]

mod code;
mod makers;
mod native;
mod python;
mod search;
mod stack;
mod string;
mod thread;

pub use code::{checksum, code_version, in_part};
pub use makers::Makers;
pub use native::{NativeWalk, Registers};
pub use python::{Codes, Known, PythonWalk, Trust, frame_slot, step, steps_for};
pub use search::{FRAMES_AT_ONCE, MAX_SEARCH_STEPS, ThreadSearch};
pub use stack::{MAX_PAGE_STEPS, MAX_SCAN_STEPS, StackPages, StackScan};
pub use string::{Characters, NoCharacters, characters, characters_of_any};
pub use thread::{
    Position, Seen, attached_place, has_c_frames, holder, maker, may_be_in, see, seen_in,
};

/// Bytes copied out of a target, aligned for the fields in it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct Block<const N: usize> {
    bytes: [u8; N],
}

impl<const N: usize> Block<N> {
    /// A block of zeros.
    pub const fn zeroed() -> Self {
        Self { bytes: [0; N] }
    }

    /// The block's first byte, to fill it.
    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.bytes.as_mut_ptr()
    }

    /// All its bytes, to fill it without `unsafe`.
    pub fn bytes_mut(&mut self) -> &mut [u8; N] {
        &mut self.bytes
    }

    /// The `u64` at an offset, rounded down to its alignment and wrapped into the block: the
    /// agent has checked the offset, the mask is what lets the verifier believe it.
    #[inline(always)]
    pub fn u64_at(&self, offset: u16) -> u64 {
        let offset = usize::from(offset) & (N - 8);
        // SAFETY: N is a power of two of at least 8, so the masked offset is a multiple of 8 that
        // leaves 8 bytes in the block, and the block is aligned to 8.
        unsafe { self.bytes.as_ptr().add(offset).cast::<u64>().read() }
    }

    /// The `u32` at an offset, as [`Self::u64_at`].
    #[inline(always)]
    pub fn u32_at(&self, offset: u16) -> u32 {
        let offset = usize::from(offset) & (N - 4);
        // SAFETY: as in `u64_at`, with 4 in place of 8.
        unsafe { self.bytes.as_ptr().add(offset).cast::<u32>().read() }
    }

    /// The byte at an offset, as [`Self::u64_at`].
    #[inline(always)]
    pub fn u8_at(&self, offset: u16) -> u8 {
        let offset = usize::from(offset) & (N - 1);
        // SAFETY: N is a power of two, so the masked offset is in the block.
        unsafe { self.bytes.as_ptr().add(offset).read() }
    }
}

/// Reads memory of the target.
pub trait ReadUser {
    /// Copies `size` bytes (at most `N`) at `address` to the start of the block; false if they
    /// cannot be read, and then the block holds anything.
    fn read<const N: usize>(&self, address: u64, size: u32, block: &mut Block<N>) -> bool;

    /// The same with a size that is known at run time only, and below `N`.
    fn read_part<const N: usize>(&self, address: u64, size: u32, block: &mut Block<N>) -> bool {
        self.read(address, size, block)
    }

    /// The `u64` at an address.
    fn read_u64(&self, address: u64) -> Option<u64>;
}

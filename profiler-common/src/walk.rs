//! The CPython frame walk, and the walk of native frames by frame pointer.
//!
//! Generic over the memory it reads, so that the same code runs in the kernel program and in tests
//! on any memory image. It follows [`PythonLayout`] and knows no version. Every loop is bounded,
//! every address may be garbage: other threads change what is not this thread's own, so nothing is
//! believed without a check (a thread state carries its thread's id, a code object its type).
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

use crate::{
    event::PythonFrame,
    limits::{
        CODE_BLOCK, FRAME_WINDOW, MAX_INTERPRETERS, MAX_NATIVE_FRAMES, MAX_PYTHON_FRAMES,
        MAX_THREADS, STACK_WINDOW,
    },
    outcome::Outcome,
    python::{Process, PythonLayout, flags},
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
    /// Copies `size` bytes (at most `N`) at `address` to the start of the block; false where they
    /// cannot be read, and then the block holds anything.
    fn read<const N: usize>(&self, address: u64, size: u32, block: &mut Block<N>) -> bool;

    /// The same with a size that is known at run time only, and below `N`.
    fn read_part<const N: usize>(&self, address: u64, size: u32, block: &mut Block<N>) -> bool {
        self.read(address, size, block)
    }

    /// The `u64` at an address.
    fn read_u64(&self, address: u64) -> Option<u64>;
}

/// A Python walk under way: where it stands, and what it reads.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PythonWalk {
    /// The frame to look at next; 0 behind the outermost.
    pub next: u64,
    /// Frames filled in so far.
    pub count: u32,
    /// How it ended, as a number of [`Outcome`], once [`step`] has returned false.
    pub outcome: u32,
    /// Address of what `frames` holds.
    pub frames_start: u64,
    /// Bytes of it that are valid.
    pub frames_size: u64,
    /// How many code objects the interpreter has made so far, as [`code_version`] tells; anything else that is
    /// another in each walk, where it does not.
    pub code_version: u64,
    /// The frame looked at, and what lies below it: from 3.11 on that is its callers, mostly, and
    /// reading several at once is cheaper than reading each.
    pub frames: Block<FRAME_WINDOW>,
    /// The frame's code object.
    pub code: Block<CODE_BLOCK>,
}

impl PythonWalk {
    /// A walk that starts at a frame.
    pub const fn from_frame(frame: u64) -> Self {
        Self {
            next: frame,
            count: 0,
            outcome: Outcome::Truncated as u32,
            frames_start: 0,
            frames_size: 0,
            code_version: 0,
            frames: Block::zeroed(),
            code: Block::zeroed(),
        }
    }

    /// Starts anew at a frame; the blocks keep what was in them.
    #[inline(always)]
    pub fn restart(&mut self, frame: u64) {
        self.next = frame;
        self.count = 0;
        self.outcome = Outcome::Truncated as u32;
        self.frames_size = 0;
    }

    /// Has the frame at an address in `frames`; where, or `None` where it cannot be read.
    #[inline(always)]
    fn frame_at<R: ReadUser>(
        &mut self,
        reader: &R,
        layout: &PythonLayout,
        address: u64,
    ) -> Option<u16> {
        const WINDOW: u64 = FRAME_WINDOW as u64;
        const PAGE: u64 = 4096;
        // Whole words: they never cross into a page that cannot be read.
        let size = (u64::from(layout.frame_size) + 7) & !7;
        let offset = address.wrapping_sub(self.frames_start);
        if offset < self.frames_size
            && self.frames_size - offset >= size
            && offset.is_multiple_of(8)
        {
            return Some(offset as u16);
        }
        // Before 3.11 every frame is an object of its own.
        let are_adjacent = layout.flags & flags::INSTRUCTION_IS_INDEX == 0;
        let end = address.wrapping_add(size);
        let mut start = address;
        if are_adjacent {
            // Never into another page: one that cannot be read costs a fault.
            let page = address & !(PAGE - 1);
            let lowest = end.wrapping_sub(WINDOW);
            start = if lowest < page { page } else { lowest };
        }
        self.frames_start = start;
        self.frames_size = 0;
        let read = end.wrapping_sub(start);
        if !reader.read(start, read as u32, &mut self.frames) {
            return None;
        }
        self.frames_size = read;
        Some(address.wrapping_sub(start) as u16)
    }

    #[inline(always)]
    fn end(&mut self, outcome: Outcome) -> bool {
        self.outcome = outcome as u32;
        false
    }
}

/// Bits of a reference that are no address (`Py_TAG_BITS`): objects are aligned to more.
const REFERENCE_TAG: u64 = 7;

/// Steps a walk may take: trampolines take steps too, one for each call from C code into Python.
pub const MAX_STEPS: u32 = 2 * MAX_PYTHON_FRAMES as u32;

/// Whether a thread state belongs to the thread whose thread pointer is given.
#[inline(always)]
pub fn owns<R: ReadUser>(
    reader: &R,
    layout: &PythonLayout,
    thread_state: u64,
    thread_pointer: u64,
) -> bool {
    reader.read_u64(thread_state.wrapping_add(u64::from(layout.thread_id))) == Some(thread_pointer)
}

/// A search for the state of one thread under way, through all interpreters of the process.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadSearch {
    /// The interpreter whose threads are searched; 0 behind the last.
    pub interpreter: u64,
    /// The thread state to look at next; 0 behind the interpreter's last.
    pub thread: u64,
    /// What `pthread_self()` returns in the thread: its thread pointer, on glibc and musl.
    pub thread_pointer: u64,
    /// How it ended, as a number of [`Outcome`]; [`Outcome::Complete`] where `thread` was found.
    pub outcome: u32,
    /// Always 0.
    pub reserved: u32,
    /// A state of the thread that runs nothing; 0 where none was met. Who makes a sub-interpreter is
    /// left such a state in it, and runs on in its own.
    pub idle: u64,
}

/// Steps a search may take: one for each thread state, and one for each interpreter.
pub const MAX_SEARCH_STEPS: u32 = ((MAX_THREADS + 1) * MAX_INTERPRETERS) as u32;

impl ThreadSearch {
    /// Starts at the process's main interpreter; false where that cannot be read.
    #[inline(always)]
    pub fn start<R: ReadUser>(
        &mut self,
        reader: &R,
        layout: &PythonLayout,
        process: &Process,
        thread_pointer: u64,
    ) -> bool {
        self.thread_pointer = thread_pointer;
        self.idle = 0;
        self.outcome = Outcome::TooManyThreads as u32;
        let head = process
            .runtime
            .wrapping_add(u64::from(layout.runtime_interpreters));
        match reader.read_u64(head) {
            Some(interpreter) => self.enter(reader, layout, interpreter),
            None => self.end(Outcome::Unreadable),
        }
    }

    /// Looks at one thread state; false where the search has ended and `outcome` says how.
    #[inline(always)]
    pub fn step<R: ReadUser>(&mut self, reader: &R, layout: &PythonLayout) -> bool {
        if self.interpreter == 0 {
            return self.exhausted();
        }
        if self.thread == 0 {
            let next = self
                .interpreter
                .wrapping_add(u64::from(layout.interpreter_next));
            return match reader.read_u64(next) {
                Some(interpreter) => self.enter(reader, layout, interpreter),
                None => self.end(Outcome::Unreadable),
            };
        }
        if owns(reader, layout, self.thread, self.thread_pointer) {
            match current_frame(reader, layout, self.thread) {
                Some(0) => self.idle = self.thread,
                Some(_) => return self.end(Outcome::Complete),
                None => return self.end(Outcome::Unreadable),
            }
        }
        match reader.read_u64(self.thread.wrapping_add(u64::from(layout.thread_next))) {
            Some(next) => {
                self.thread = next;
                true
            }
            None => self.end(Outcome::Unreadable),
        }
    }

    #[inline(always)]
    fn enter<R: ReadUser>(&mut self, reader: &R, layout: &PythonLayout, interpreter: u64) -> bool {
        self.interpreter = interpreter;
        if interpreter == 0 {
            return self.exhausted();
        }
        let threads = interpreter.wrapping_add(u64::from(layout.interpreter_threads));
        match reader.read_u64(threads) {
            Some(thread) => {
                self.thread = thread;
                true
            }
            None => self.end(Outcome::Unreadable),
        }
    }

    /// Nothing is left to search: an idle state will do.
    #[inline(always)]
    fn exhausted(&mut self) -> bool {
        if self.idle == 0 {
            return self.end(Outcome::NoThreadState);
        }
        self.thread = self.idle;
        self.end(Outcome::Complete)
    }

    #[inline(always)]
    fn end(&mut self, outcome: Outcome) -> bool {
        self.outcome = outcome as u32;
        false
    }
}

/// How many code objects the process has made so far; 0 where nobody knows. Two equal counts say that no
/// code object was made in between (`Objects/codeobject.c` of 3.12 to 3.15: each takes the next number),
/// and so that none has taken over the address of another.
#[inline(always)]
pub fn code_version<R: ReadUser>(reader: &R, layout: &PythonLayout, process: &Process) -> u64 {
    if process.code_version == 0 {
        return 0;
    }
    let head = process
        .runtime
        .wrapping_add(u64::from(layout.runtime_interpreters));
    let Some(interpreter) = reader.read_u64(head) else {
        return 0;
    };
    let is_only_one = if layout.interpreter_code_version == 0 {
        // One counter for all, without a lock: two interpreters may count the same number twice.
        let next = interpreter.wrapping_add(u64::from(layout.interpreter_next));
        reader.read_u64(next) == Some(0)
    } else {
        // The newest interpreter comes first: where that is the main one, there is no other, which would
        // count for itself.
        let counter = interpreter.wrapping_add(u64::from(layout.interpreter_code_version));
        counter == process.code_version
    };
    if !is_only_one {
        return 0;
    }
    // A `u32`; it stays 0 once it has run over.
    match reader.read_u64(process.code_version) {
        Some(count) => count & 0xffff_ffff,
        None => 0,
    }
}

/// The thread's innermost frame; 0 where it runs no Python code.
#[inline(always)]
pub fn current_frame<R: ReadUser>(
    reader: &R,
    layout: &PythonLayout,
    thread_state: u64,
) -> Option<u64> {
    let frame = reader.read_u64(thread_state.wrapping_add(u64::from(layout.thread_frame)))?;
    if layout.flags & flags::FRAME_IN_CFRAME == 0 || frame == 0 {
        return Some(frame);
    }
    reader.read_u64(frame.wrapping_add(u64::from(layout.cframe_frame)))
}

/// Takes one step outwards: at most one frame, handed to `put` with its index, which says whether that
/// very code object is known already. One that is not must say that it is one. `verified` tells the
/// checksum of a code object that need not be read, because it is known to be as it was. False where the walk has
/// ended and `walk.outcome` says how; a walk that uses up [`MAX_STEPS`] was truncated.
#[inline(always)]
pub fn step<R: ReadUser>(
    reader: &R,
    layout: &PythonLayout,
    code_type: u64,
    walk: &mut PythonWalk,
    verified: impl FnOnce(u64) -> Option<u32>,
    put: impl FnOnce(u32, PythonFrame) -> bool,
) -> bool {
    let address = walk.next;
    if address == 0 {
        return walk.end(Outcome::Complete);
    }
    let Some(frame) = walk.frame_at(reader, layout, address) else {
        return walk.end(Outcome::Unreadable);
    };
    walk.next = walk
        .frames
        .u64_at(frame.wrapping_add(layout.frame_previous));
    if layout.flags & flags::FRAME_HAS_OWNER != 0
        && walk.frames.u8_at(frame.wrapping_add(layout.frame_owner)) >= layout.owner_trampoline
    {
        return true;
    }
    // From 3.14 on the lowest bits of the reference are a tag.
    let code = walk.frames.u64_at(frame.wrapping_add(layout.frame_code)) & !REFERENCE_TAG;
    let verified = verified(code);
    let checksum = if let Some(checksum) = verified {
        checksum
    } else {
        // No more than names it: each line of memory that is not in a cache costs as much as the rest of
        // the step.
        let part = code.wrapping_add(u64::from(layout.code_start));
        if !reader.read(part, u32::from(layout.code_size), &mut walk.code) {
            return walk.end(Outcome::Unreadable);
        }
        checksum(layout, &walk.code)
    };
    let count = walk.count;
    if count >= MAX_PYTHON_FRAMES as u32 {
        return walk.end(Outcome::Truncated);
    }
    let Some(instruction) = instruction(reader, layout, &walk.frames, frame, code) else {
        return walk.end(Outcome::Unreadable);
    };
    let frame = PythonFrame {
        code,
        checksum,
        instruction,
    };
    if !put(count, frame) && verified.is_none() {
        let class = code.wrapping_add(u64::from(layout.object_type));
        if !reader.read(class, 8, &mut walk.code) {
            return walk.end(Outcome::Unreadable);
        }
        if walk.code.u64_at(0) != code_type {
            return walk.end(Outcome::NotCode);
        }
    }
    walk.count = count + 1;
    true
}

/// Mixes the fields of a code object that name it; the block starts at `code_start`. A code object that took over the address of a
/// dead one differs in at least one of them, since their strings and tables are other objects.
#[inline(always)]
pub fn checksum(layout: &PythonLayout, code: &Block<CODE_BLOCK>) -> u32 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut mix = u64::from(code.u32_at(in_part(layout, layout.code_first_line))).wrapping_add(1);
    mix = (mix ^ code.u64_at(in_part(layout, layout.code_name))).wrapping_mul(MULTIPLIER);
    mix = (mix ^ (mix >> 29) ^ code.u64_at(in_part(layout, layout.code_file)))
        .wrapping_mul(MULTIPLIER);
    mix = (mix ^ (mix >> 31) ^ code.u64_at(in_part(layout, layout.code_line_table)))
        .wrapping_mul(MULTIPLIER);
    (mix >> 32) as u32
}

/// Where a field of a code object is in the part of it that is read.
#[inline(always)]
pub fn in_part(layout: &PythonLayout, offset: u16) -> u16 {
    offset.wrapping_sub(u16::from(layout.code_start))
}

/// Offset of the frame's instruction in its code, in bytes; `None` where it cannot be read.
#[inline(always)]
fn instruction<R: ReadUser>(
    reader: &R,
    layout: &PythonLayout,
    frames: &Block<FRAME_WINDOW>,
    frame: u16,
    code: u64,
) -> Option<i32> {
    let offset = frame.wrapping_add(layout.frame_instruction);
    if layout.flags & flags::INSTRUCTION_IS_INDEX != 0 {
        let index = frames.u32_at(offset).cast_signed();
        // -1, before the first instruction, stays below 0.
        return Some(index << (layout.instruction_shift & 1));
    }
    let mut start = code.wrapping_add(u64::from(layout.code_instructions));
    if layout.flags & flags::THREAD_BYTECODES != 0 {
        let index = frames.u32_at(frame.wrapping_add(layout.frame_bytecode));
        // The first of them is the one in the code object.
        if index != 0 {
            start = bytecode(reader, layout, code, u64::from(index))?;
        }
    }
    let offset = frames.u64_at(offset).wrapping_sub(start);
    Some((offset as u32).cast_signed())
}

/// Where a thread's own copy of the instructions starts.
#[inline(always)]
fn bytecode<R: ReadUser>(reader: &R, layout: &PythonLayout, code: u64, index: u64) -> Option<u64> {
    /// `_PyCodeArray.entries`, behind `size`.
    const ENTRIES: u64 = 8;
    let array = reader.read_u64(code.wrapping_add(u64::from(layout.code_bytecodes)))?;
    let size = reader.read_u64(array)?;
    if index >= size {
        return None;
    }
    let entry = array.wrapping_add(ENTRIES).wrapping_add(8 * index);
    reader.read_u64(entry).filter(|&start| start != 0)
}

/// Registers of an interrupted thread, as far as frame pointers need them.
#[derive(Clone, Copy, Debug)]
pub struct Registers {
    /// Instruction pointer.
    pub instruction: u64,
    /// Stack pointer.
    pub stack: u64,
    /// Frame pointer, in code built with one; anything in other code.
    pub frame: u64,
}

/// A walk of native frames by frame pointer under way: each frame points to its caller's, and the
/// return address lies above it. In code built without frame pointers the chain breaks, or skips
/// frames: who reads it must know how far to trust it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct NativeWalk {
    /// The frame to look at next.
    pub frame: u64,
    /// Below this address no caller's frame can lie: the stack grows down.
    pub lowest: u64,
    /// Addresses put so far.
    pub count: u32,
    /// How it ended, as a number of [`Outcome`], once [`Self::step`] has returned false.
    pub outcome: u32,
    /// Address of what `stack` holds.
    pub stack_start: u64,
    /// Bytes of it that are valid.
    pub stack_size: u64,
    /// The frame looked at (its caller's frame, and the return address), and what lies above it: the frames
    /// of its callers, and reading several at once is cheaper than reading each.
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

    /// Has the frame at an address in `stack`; where, or `None` where it cannot be read.
    #[inline(always)]
    fn frame_at<R: ReadUser>(&mut self, reader: &R, address: u64, ahead: bool) -> Option<u16> {
        /// Less than the block has, so that a mask bounds it for the verifier.
        const WINDOW: u64 = STACK_WINDOW as u64 - 8;
        /// The caller's frame, and the return address.
        const PAIR: u64 = 16;
        const PAGE: u64 = 4096;
        let offset = address.wrapping_sub(self.stack_start);
        if ahead && offset < self.stack_size && self.stack_size - offset >= PAIR {
            return Some(offset as u16);
        }
        // Never into another page: one that cannot be read costs a fault.
        let page = PAGE - (address & (PAGE - 1));
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

    /// Takes one step outwards: at most one return address, handed to `put` with its index. False
    /// where the walk has ended. `ahead`: reads what lies above a frame with it.
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
        let caller = self.stack.u64_at(offset.wrapping_add(8));
        if caller == 0 {
            return self.end(Outcome::Complete);
        }
        let count = self.count;
        if count >= MAX_NATIVE_FRAMES as u32 {
            return self.end(Outcome::Truncated);
        }
        put(count, caller);
        self.count = count + 1;
        self.lowest = frame.wrapping_add(16);
        self.frame = self.stack.u64_at(offset);
        true
    }

    #[inline(always)]
    fn end(&mut self, outcome: Outcome) -> bool {
        self.outcome = outcome as u32;
        false
    }
}

//! Which thread state a thread runs in, and what proves it.
//!
//! A state records which thread made it (`thread_id`), never which thread runs it: programs that embed Python make
//! states for their threads, hand them over and swap them. So this reads what the interpreter itself relies on:
//!
//! - From 3.12 on a thread-local of the interpreter holds the state that the thread has attached.
//! - Before, one word of the process holds the state that has the GIL. It is this thread's if the C frame that runs it
//!   lies on the stack that this thread is on.
//! - A thread that has detached its state (`Py_BEGIN_ALLOW_THREADS`) is inside a call from that state's innermost C
//!   frame, which therefore lies on its stack; no other state's C frame lies between.
//!
//! Facts: `Python/pystate.c`, `Python/ceval.c`, `Python/ceval_gil.{h,c}` of CPython 3.8 to 3.15.

use super::{Block, ReadUser};
use crate::{
    arch::{Architecture as _, Machine},
    code::StateUse,
    limits::{CODE_BLOCK, STATE_PART},
    python::{Process, PythonLayout, flags, thread_local},
};

/// Bytes that a thread's own stack has at most: the default of glibc's `ulimit -s`.
const OWN_STACK: u64 = 8 << 20;
/// A C frame that is no farther above the stack pointer is on the same stack: a call from Python into C
/// takes less, and the innermost frames of two stacks that lie side by side are farther apart.
const NEAR: u64 = 16 << 10;

/// Whether a part of a state lies on the stack of the thread that runs it: from 3.10 on.
#[inline(always)]
pub fn has_c_frames(layout: &PythonLayout) -> bool {
    layout.thread_cframe != 0 || layout.flags & flags::FRAME_HAS_OWNER != 0
}

/// Position of a thread.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Position {
    /// What `pthread_self()` returns in it, on glibc and musl.
    pub thread_pointer: u64,
    /// Its instruction in user mode.
    pub instruction: u64,
    /// Its stack pointer.
    pub stack: u64,
    /// The end of the stack that it was started with; 0 if it is on another one, or as long as [`Self::find_end`] was not
    /// called.
    pub stack_end: u64,
}

impl Position {
    /// The end of its stack is not known yet.
    #[inline(always)]
    pub fn new(thread_pointer: u64, instruction: u64, stack: u64) -> Self {
        Self {
            thread_pointer,
            instruction,
            stack,
            stack_end: 0,
        }
    }

    /// Finds the end of the stack that it was started with. `first_stack` gives the start of the stack of the process's
    /// first thread. Stacks of other threads end at the thread pointer (glibc's and musl's `pthread_create`); so does
    /// that of the first thread in a process forked from another thread.
    #[inline(always)]
    pub fn find_end(&mut self, first_stack: impl FnOnce() -> u64) {
        let stack = self.stack;
        let is_end = |end: u64| end.wrapping_sub(stack) < OWN_STACK;
        self.stack_end = if is_end(self.thread_pointer) {
            self.thread_pointer
        } else {
            let first_stack = first_stack();
            if is_end(first_stack) { first_stack } else { 0 }
        };
    }

    /// Whether an address lies on the part in use of the thread's own stack.
    #[inline(always)]
    pub(super) fn holds(&self, address: u64) -> bool {
        address >= self.stack && address < self.stack_end
    }

    /// Whether an address is so close above the stack pointer that it must be on the same stack.
    #[inline(always)]
    pub fn is_near(&self, address: u64) -> bool {
        address.wrapping_sub(self.stack) < NEAR
    }
}

/// The address at which a thread has the interpreter's thread-local with its attached state (3.12 and later): 0 if it
/// has none, because it has never run Python. `None` if that is not known, or cannot be read. The address stays the
/// same as long as the thread lives.
#[inline(always)]
pub fn attached_place<R: ReadUser>(
    reader: &R,
    process: &Process,
    thread_pointer: u64,
) -> Option<u64> {
    let entry_size = u64::from(process.thread_local_entry);
    if process.thread_local_entry == thread_local::AT_OFFSET {
        return Some(thread_pointer.wrapping_add(process.thread_local));
    }
    if process.thread_local_entry == thread_local::UNKNOWN {
        return None;
    }
    let module = u64::from(process.thread_local_module);
    let vector = reader.read_u64(thread_pointer.wrapping_add(Machine::THREAD_VECTOR))?;
    // glibc keeps the vector's length in the entry before the first, musl in the first.
    let before = if process.thread_local_entry == thread_local::IN_BLOCK_OF_16 {
        entry_size
    } else {
        0
    };
    if reader.read_u64(vector.wrapping_sub(before))? < module {
        return Some(0);
    }
    let block = reader.read_u64(vector.wrapping_add(entry_size.wrapping_mul(module)))?;
    // A block is made when its thread first asks for it.
    if block == 0 || block == u64::MAX {
        return Some(0);
    }
    Some(block.wrapping_add(process.thread_local))
}

/// The state that has the GIL (before 3.12), if that is this thread's; else 0. From 3.10 on `block` then holds
/// [`STATE_PART`] bytes of that state. `first_stack` is asked only if the end of the thread's stack matters, which is
/// seldom.
#[inline(always)]
pub fn holder<R: ReadUser>(
    reader: &R,
    layout: &PythonLayout,
    process: &Process,
    position: &mut Position,
    first_stack: impl FnOnce() -> u64,
    block: &mut Block<CODE_BLOCK>,
) -> u64 {
    let current = process
        .runtime
        .wrapping_add(u64::from(layout.runtime_current));
    let Some(state) = reader.read_u64(current) else {
        return 0;
    };
    if state == 0 {
        return 0;
    }
    if layout.thread_cframe == 0 {
        // Nothing of the state lies on the stack. Only a thread that executes bytecode may have the GIL; of the threads
        // that wait for the GIL in the bytecode loop, none has that state's frame on its stack (see `StackScan`).
        let is_in_loop =
            position.instruction.wrapping_sub(process.evaluation_start) < process.evaluation_size;
        return if is_in_loop { state } else { 0 };
    }
    if !reader.read(state, STATE_PART as u32, block) {
        return 0;
    }
    let frame = block.u64_at(layout.thread_cframe);
    if position.is_near(frame) {
        return state;
    }
    if maker(reader, layout, state) == Some(position.thread_pointer) {
        position.find_end(first_stack);
        if position.holds(frame) {
            return state;
        }
    }
    0
}

/// The thread pointer of the thread that made a state; `None` if that cannot be read.
#[inline(always)]
pub fn maker<R: ReadUser>(reader: &R, layout: &PythonLayout, state: u64) -> Option<u64> {
    reader.read_u64(state.wrapping_add(u64::from(layout.thread_id)))
}

/// What a state records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The thread pointer of the thread that made it.
    pub maker: u64,
    /// Its interpreter.
    pub interpreter: u64,
    /// Its innermost frame, 0 if it runs no Python code; `None` if that cannot be read.
    pub frame: Option<u64>,
}

impl Seen {
    /// Distinguishes one moment of its Python from another: mixes the innermost frame and the instruction in it. Never
    /// 0. Two moments may have the same value.
    #[inline(always)]
    pub fn progress<R: ReadUser>(&self, reader: &R, layout: &PythonLayout) -> u64 {
        let frame = self.frame.unwrap_or(0);
        let instruction = frame.wrapping_add(u64::from(layout.frame_instruction));
        let at = reader.read_u64(instruction).unwrap_or(0);
        // Frames are at even addresses, and the 1 keeps it from being 0.
        (frame ^ at.rotate_left(32)) | 1
    }
}

/// Reads a state; `None` if it cannot be read.
#[inline(always)]
pub fn see<R: ReadUser>(
    reader: &R,
    layout: &PythonLayout,
    state: u64,
    block: &mut Block<CODE_BLOCK>,
) -> Option<Seen> {
    if !reader.read(state, CODE_BLOCK as u32, block) {
        return None;
    }
    let maker = block.u64_at(layout.thread_id);
    Some(seen_in(reader, layout, block, maker))
}

/// What the state in a block records, of which `maker` is known.
#[inline(always)]
pub fn seen_in<R: ReadUser>(
    reader: &R,
    layout: &PythonLayout,
    block: &Block<CODE_BLOCK>,
    maker: u64,
) -> Seen {
    Seen {
        maker,
        interpreter: block.u64_at(layout.thread_interpreter),
        frame: below_cframe(reader, layout, block.u64_at(layout.thread_frame)),
    }
}

#[inline(always)]
fn below_cframe<R: ReadUser>(reader: &R, layout: &PythonLayout, frame: u64) -> Option<u64> {
    if layout.flags & flags::FRAME_IN_CFRAME == 0 || frame == 0 {
        return Some(frame);
    }
    reader.read_u64(frame.wrapping_add(u64::from(layout.cframe_frame)))
}

/// Whether a thread may be in a state that it has detached, in a process that hands states over. `last` is the thread
/// that was last seen to have a state of this address attached. If that is another thread, it may have changed the
/// state since. Until some thread was seen with the state, the thread that made it counts as its user.
#[inline(always)]
pub fn may_be_in(is_own: bool, last: Option<&StateUse>, thread_pointer: u64) -> bool {
    match last {
        // The record is about a state that another thread had made: this thread's state has taken its address.
        Some(last) if is_own && last.maker != thread_pointer => true,
        Some(last) => last.thread_pointer == thread_pointer,
        None => is_own,
    }
}

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

use super::{Block, PythonWalk, ReadUser};
use crate::{
    arch::{Architecture as _, Machine},
    code::StateUse,
    limits::{CODE_BLOCK, MAX_SEARCH},
    outcome::Outcome,
    python::{Process, PythonLayout, STATUS_ACTIVE, flags, thread_local},
};

/// Bytes that a thread's own stack has at most: the default of glibc's `ulimit -s`.
const OWN_STACK: u64 = 8 << 20;
/// A C frame that is no farther above the stack pointer is on the same stack: a call from Python into C
/// takes less, and the innermost frames of two stacks that lie side by side are farther apart.
const NEAR: u64 = 16 << 10;

/// Bytes of a state that contain the C frame that runs nothing (`root_cframe`).
const IDLE_FRAME: u64 = 4096;
/// Bytes of a stack that are searched for a frame: see [`StackScan`].
const SCANNED: u64 = 16 << 10;

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
    /// The end of the stack that it was started with; 0 if it is on another one.
    pub stack_end: u64,
}

impl Position {
    /// `first_stack`: the start of the stack of the process's first thread. Stacks of other threads end at the thread
    /// pointer (glibc's and musl's `pthread_create`); so does that of the first thread in a process forked from another
    /// thread.
    #[inline(always)]
    pub fn new(thread_pointer: u64, instruction: u64, stack: u64, first_stack: u64) -> Self {
        let is_end = |end: u64| end.wrapping_sub(stack) < OWN_STACK;
        let stack_end = if is_end(thread_pointer) {
            thread_pointer
        } else if is_end(first_stack) {
            first_stack
        } else {
            0
        };
        Self {
            thread_pointer,
            instruction,
            stack,
            stack_end,
        }
    }

    /// Whether an address lies on the part in use of the thread's own stack.
    #[inline(always)]
    fn holds(&self, address: u64) -> bool {
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

/// The state that has the GIL (before 3.12), if that is this thread's; else 0. From 3.10 on `block` then holds that
/// state.
#[inline(always)]
pub fn holder<R: ReadUser>(
    reader: &R,
    layout: &PythonLayout,
    process: &Process,
    position: &Position,
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
    if !reader.read(state, CODE_BLOCK as u32, block) {
        return 0;
    }
    let frame = block.u64_at(layout.thread_cframe);
    let is_own = block.u64_at(layout.thread_id) == position.thread_pointer;
    if position.is_near(frame) || (is_own && position.holds(frame)) {
        return state;
    }
    0
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
    Some(seen_in(reader, layout, block))
}

/// What the state in a block records.
#[inline(always)]
pub fn seen_in<R: ReadUser>(reader: &R, layout: &PythonLayout, block: &Block<CODE_BLOCK>) -> Seen {
    Seen {
        maker: block.u64_at(layout.thread_id),
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

/// A search under way for the state that a thread has detached: the one with the nearest innermost C frame on the
/// thread's stack.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadSearch {
    /// The thread's position.
    pub position: Position,
    /// The interpreter whose states are read; 0 after the last.
    pub interpreter: u64,
    /// The state to read next; 0 after the interpreter's last.
    pub thread: u64,
    /// The state whose frames are followed to its innermost C frame.
    pub followed: u64,
    /// The frame of that state to read next; 0 if none is followed.
    pub frame: u64,
    /// The state that was found, and its C frame; 0 if none was.
    pub found: u64,
    /// Address of its innermost C frame (before 3.10: of its innermost frame).
    pub found_at: u64,
    /// Not 0 if the states of all threads are considered: in a process that hands them over.
    pub is_for_all: u32,
    /// Not 0 if the thread made the state that is followed.
    pub is_own: u32,
    /// Not 0 if the thread made the state that was found.
    pub is_found_own: u32,
    /// Not 0 if the state that is followed is attached, which then is to another thread.
    pub is_attached: u32,
    /// Not 0 if the state that was found is.
    pub is_found_attached: u32,
    /// States that the thread has made and that run nothing.
    pub own_idle: u32,
    /// Other states that the thread has made.
    pub own_busy: u32,
    /// Not 0 if a thread has made several states, one after the other: before 3.10 nothing tells which thread runs
    /// which.
    pub are_made_ahead: u32,
    /// How it ended, as a number of [`Outcome`]; [`Outcome::Complete`] if `found` is the state.
    pub outcome: u32,
    /// The thread pointer of the thread that made the state read last.
    pub last_maker: u64,
}

/// Frames followed in one step, if the verifier follows that once.
pub const FRAMES_AT_ONCE: u32 = 8;

/// Steps a search may take: one for each thread state, one for each interpreter, and one for eight frames on the way
/// to a state's innermost C frame.
pub const MAX_SEARCH_STEPS: u32 = MAX_SEARCH as u32;

impl ThreadSearch {
    /// Starts at the newest interpreter; false if that cannot be read.
    #[inline(always)]
    pub fn start<R: ReadUser>(
        &mut self,
        reader: &R,
        layout: &PythonLayout,
        process: &Process,
        position: &Position,
        is_for_all: bool,
    ) -> bool {
        *self = Self {
            position: *position,
            is_for_all: u32::from(is_for_all),
            outcome: Outcome::TooManyThreads as u32,
            ..Self::default()
        };
        let head = process
            .runtime
            .wrapping_add(u64::from(layout.runtime_interpreters));
        match reader.read_u64(head) {
            Some(interpreter) => self.enter(reader, layout, interpreter),
            None => self.end(Outcome::Unreadable),
        }
    }

    /// Reads one thread state, frame or interpreter; false if the search has ended and `outcome` says how. It is long
    /// because it is a state machine: what it reads next follows from what it has read.
    #[inline(always)]
    pub fn step<R: ReadUser, const FRAMES: u32>(
        &mut self,
        reader: &R,
        layout: &PythonLayout,
        process: &Process,
        walk: &mut PythonWalk,
    ) -> bool {
        if self.frame != 0 {
            for _ in 0..FRAMES {
                if self.frame != 0 && !self.follow(reader, layout, walk) {
                    return false;
                }
            }
            return true;
        }
        let block = &mut walk.code;
        if self.interpreter == 0 {
            return self.exhausted(layout);
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
        let state = self.thread;
        if !reader.read(state, CODE_BLOCK as u32, block) {
            return self.end(Outcome::Unreadable);
        }
        self.thread = block.u64_at(layout.thread_next);
        let maker = block.u64_at(layout.thread_id);
        let is_own = maker == self.position.thread_pointer;
        self.are_made_ahead |= u32::from(maker == self.last_maker);
        self.last_maker = maker;
        if is_own || self.is_for_all != 0 {
            self.followed = state;
            self.is_own = u32::from(is_own);
            self.look(reader, layout, process, block);
        }
        true
    }

    /// Checks the state in the block.
    #[inline(always)]
    fn look<R: ReadUser>(
        &mut self,
        reader: &R,
        layout: &PythonLayout,
        process: &Process,
        block: &Block<CODE_BLOCK>,
    ) {
        let is_attached = if layout.thread_status != 0 {
            block.u32_at(layout.thread_status) & STATUS_ACTIVE != 0
        } else if layout.thread_cframe != 0 {
            let current = process
                .runtime
                .wrapping_add(u64::from(layout.runtime_current));
            reader.read_u64(current) == Some(self.followed)
        } else {
            // Before 3.10 a thread may have it attached without any sign of that.
            false
        };
        let frame = block.u64_at(layout.thread_frame);
        // In 3.11 and 3.12 a state contains a C frame that runs nothing.
        let is_idle = layout.flags & flags::FRAME_IN_CFRAME != 0
            && frame.wrapping_sub(self.followed) < IDLE_FRAME;
        self.is_attached = u32::from(is_attached);
        if frame == 0 || is_idle {
            self.own_idle = self.own_idle.wrapping_add(self.is_own);
        } else if layout.thread_cframe != 0 {
            self.lies_at(block.u64_at(layout.thread_cframe));
        } else if layout.flags & flags::FRAME_HAS_OWNER != 0 {
            self.frame = frame;
        } else {
            self.own_busy = self.own_busy.wrapping_add(self.is_own);
            // With two, nothing tells which one it is.
            self.is_found_own = u32::from(self.found == 0) & self.is_own;
            self.found = self.followed;
            self.found_at = frame;
        }
    }

    /// Goes on to the innermost frame that the interpreter has on the C stack: that of a call from C into Python.
    #[inline(always)]
    fn follow<R: ReadUser>(
        &mut self,
        reader: &R,
        layout: &PythonLayout,
        walk: &mut PythonWalk,
    ) -> bool {
        let at = self.frame;
        self.frame = 0;
        let Some(frame) = walk.frame_at(reader, layout, at) else {
            if self.is_own != 0 && self.is_attached == 0 {
                return self.end(Outcome::Unreadable);
            }
            // Another thread may run it meanwhile, on that thread's stack.
            self.own_busy = self.own_busy.wrapping_add(self.is_own);
            return true;
        };
        let owner = walk.frames.u8_at(frame.wrapping_add(layout.frame_owner));
        if owner >= layout.owner_trampoline {
            self.lies_at(at);
            return true;
        }
        let previous = frame.wrapping_add(layout.frame_previous);
        self.frame = walk.frames.u64_at(previous);
        if self.frame == 0 {
            self.own_busy = self.own_busy.wrapping_add(self.is_own);
        }
        true
    }

    /// The followed state's innermost C frame is there.
    #[inline(always)]
    fn lies_at(&mut self, address: u64) {
        self.own_busy = self.own_busy.wrapping_add(self.is_own);
        if self.position.holds(address) && (self.found == 0 || address < self.found_at) {
            self.found = self.followed;
            self.found_at = address;
            self.is_found_own = self.is_own;
            self.is_found_attached = self.is_attached;
        }
    }

    #[inline(always)]
    fn enter<R: ReadUser>(&mut self, reader: &R, layout: &PythonLayout, interpreter: u64) -> bool {
        self.interpreter = interpreter;
        if interpreter == 0 {
            return self.exhausted(layout);
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

    /// No state is left to read.
    #[inline(always)]
    fn exhausted(&mut self, layout: &PythonLayout) -> bool {
        if !has_c_frames(layout) && self.are_made_ahead != 0 {
            return self.end(Outcome::StateUnknown);
        }
        // One that was handed over has to be as near as one that is attached.
        let is_near = self.is_for_all != 0 && self.position.is_near(self.found_at);
        // A state that another thread has attached hides those behind it.
        let is_free = self.found != 0 && self.is_found_attached == 0;
        if is_free && (self.is_found_own != 0 || is_near) {
            return self.end(Outcome::Complete);
        }
        // A thread that made no state may run in one that was handed to it.
        if self.found != 0 || self.is_for_all != 0 || self.own_busy != 0 {
            return self.end(Outcome::StateUnknown);
        }
        if self.own_idle != 0 {
            return self.end(Outcome::NoFrame);
        }
        self.end(Outcome::NoThreadState)
    }

    #[inline(always)]
    fn end(&mut self, outcome: Outcome) -> bool {
        self.outcome = outcome as u32;
        false
    }
}

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

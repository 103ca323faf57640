//! The search for the state that a thread has detached: the one whose innermost C frame is the nearest on its stack.

use super::{Block, Makers, Position, PythonWalk, ReadUser, has_c_frames};
use crate::{
    limits::{CODE_BLOCK, MAX_SEARCH},
    outcome::Outcome,
    python::{Process, PythonLayout, STATUS_ACTIVE, flags},
};

/// Bytes of a state that contain the C frame that runs nothing (`root_cframe`).
const IDLE_FRAME: u64 = 4096;

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
    /// Not 0 if a thread has made several states of one interpreter: before 3.10 nothing tells which thread runs which.
    pub are_made_ahead: u32,
    /// How it ended, as a number of [`Outcome`]; [`Outcome::Complete`] if `found` is the state.
    pub outcome: u32,
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
        makers: &mut Makers,
    ) -> bool {
        if !has_c_frames(layout) {
            makers.forget();
        }
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
        makers: &mut Makers,
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
        if !has_c_frames(layout) {
            self.are_made_ahead |= u32::from(makers.made_before(maker, self.interpreter));
        }
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

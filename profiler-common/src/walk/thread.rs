//! The state of a thread, and the search for it through all interpreters.

use super::{Block, ReadUser};
use crate::{
    limits::{CODE_BLOCK, MAX_INTERPRETERS, MAX_THREADS},
    outcome::Outcome,
    python::{Process, PythonLayout, flags},
};

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

/// What a thread state that may have become another's says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remembered {
    /// It is of another thread now, or cannot be read.
    Gone,
    /// It is the thread's, and this is its innermost frame; 0 where it runs no Python code.
    Frame(u64),
    /// It is the thread's, and the frame cannot be read.
    Unreadable,
}

/// [`owns`] and [`current_frame`] at once, for a state that is mostly the thread's.
#[inline(always)]
pub fn remembered<R: ReadUser>(
    reader: &R,
    layout: &PythonLayout,
    thread_state: u64,
    thread_pointer: u64,
    block: &mut Block<CODE_BLOCK>,
) -> Remembered {
    let (id, frame) = (layout.thread_id, layout.thread_frame);
    let start = if id < frame { id } else { frame };
    let size = id
        .wrapping_add(frame)
        .wrapping_sub(start)
        .wrapping_sub(start);
    let size = u32::from(size).wrapping_add(8);
    if size >= CODE_BLOCK as u32 {
        // No version has the two so far apart: then the search finds both.
        return Remembered::Gone;
    }
    if !reader.read_part(thread_state.wrapping_add(u64::from(start)), size, block)
        || block.u64_at(id.wrapping_sub(start)) != thread_pointer
    {
        return Remembered::Gone;
    }
    match below_cframe(reader, layout, block.u64_at(frame.wrapping_sub(start))) {
        Some(frame) => Remembered::Frame(frame),
        None => Remembered::Unreadable,
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
    below_cframe(reader, layout, frame)
}

#[inline(always)]
fn below_cframe<R: ReadUser>(reader: &R, layout: &PythonLayout, frame: u64) -> Option<u64> {
    if layout.flags & flags::FRAME_IN_CFRAME == 0 || frame == 0 {
        return Some(frame);
    }
    reader.read_u64(frame.wrapping_add(u64::from(layout.cframe_frame)))
}

//! The walks outside the kernel: the kernel program's own code, on the memory of running interpreters and on made-up
//! memory. Needs no privileges.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers of tests panic like tests"
)]

mod chains;
mod frames;
mod hostile;
mod image;
mod known;
mod live;
mod native;
mod process;
mod search;
mod strings;

use profiler::targets::python::{flavour::Flavour, layout::validate, offsets::Offsets, tables};
use profiler_common::{
    event::PythonFrame,
    limits::{FRAME_WINDOW, MAX_PYTHON_FRAMES},
    outcome::Outcome,
    python::{Process, PythonLayout, flags},
    walk::{
        Block, Codes, FRAMES_AT_ONCE, Known, MAX_SEARCH_STEPS, Makers, Position, PythonWalk,
        ReadUser, ThreadSearch, Trust, see, step, steps_for,
    },
};

/// Collects frames, of whose code objects nothing is known.
struct Frames<F> {
    put: Vec<PythonFrame>,
    check: F,
}

impl<F: Fn(&PythonFrame)> Codes for Frames<F> {
    type Place = ();

    fn place(&self, _index: u32) {}

    fn known(&self, _index: u32, (): (), _code: u64, above: &PythonFrame) -> Known {
        if let Some(last) = self.put.last() {
            assert_eq!(above, last);
        }
        Known::Nothing
    }

    fn put(&mut self, index: u32, (): (), frame: PythonFrame, known: Known) -> Trust {
        assert_eq!(index as usize, self.put.len());
        assert!(self.put.len() < MAX_PYTHON_FRAMES);
        assert_eq!(known, Known::Nothing);
        (self.check)(&frame);
        self.put.push(frame);
        Trust::Unproven
    }
}

/// Walks from a frame as the kernel program does; `check` sees every frame when it is put.
fn walk_checked(
    reader: &impl ReadUser,
    layout: &PythonLayout,
    code_type: u64,
    frame: u64,
    check: impl Fn(&PythonFrame),
) -> (Outcome, Vec<PythonFrame>) {
    let mut walk = PythonWalk::from_frame(0);
    // Remains of an earlier walk must not matter.
    walk.frames.bytes_mut().fill(0xa5);
    walk.code.bytes_mut().fill(0xa5);
    walk.count = 3;
    walk.frames_start = frame;
    walk.frames_size = FRAME_WINDOW as u64;
    walk.restart(frame);
    let mut frames = Frames {
        put: Vec::new(),
        check,
    };
    for _ in 0..steps_for(MAX_PYTHON_FRAMES) {
        if !step(reader, layout, code_type, &mut walk, &mut frames) {
            break;
        }
    }
    let mut frames = frames.put;
    // A frame whose code turned out to be no code object was put, and does not count.
    let outcome = Outcome::from_number(walk.outcome).unwrap();
    let refused = matches!(outcome, Outcome::NotCode | Outcome::Unreadable);
    let surplus = frames.len() - walk.count as usize;
    assert!(surplus <= usize::from(refused), "{outcome:?}");
    frames.truncate(walk.count as usize);
    (outcome, frames)
}

/// Walks from a frame as the kernel program does.
fn walk(
    reader: &impl ReadUser,
    layout: &PythonLayout,
    code_type: u64,
    frame: u64,
) -> (Outcome, Vec<PythonFrame>) {
    walk_checked(reader, layout, code_type, frame, |_| {})
}

/// A process of which only the address of its runtime is known.
fn process(runtime: u64) -> Process {
    Process {
        runtime,
        ..bytemuck::Zeroable::zeroed()
    }
}

/// A thread there, in a process whose first thread has its stack there.
fn position_at(thread_pointer: u64, instruction: u64, stack: u64, first_stack: u64) -> Position {
    let mut position = Position::new(thread_pointer, instruction, stack);
    position.find_end(|| first_stack);
    position
}

/// Searches for the state that a thread has detached, as the kernel program does; `is_for_all` says that the process
/// hands states over.
fn search(
    reader: &impl ReadUser,
    layout: &PythonLayout,
    runtime: u64,
    position: &Position,
    is_for_all: bool,
) -> Result<u64, Outcome> {
    let process = process(runtime);
    let mut search = ThreadSearch::default();
    let mut makers = Makers::default();
    let mut walk = PythonWalk::from_frame(0);
    // Remains of an earlier use must not matter.
    walk.frames.bytes_mut().fill(0xa5);
    walk.code.bytes_mut().fill(0xa5);
    search.frame = 8;
    if search.start(reader, layout, &process, position, is_for_all, &mut makers) {
        for _ in 0..MAX_SEARCH_STEPS {
            if !search.step::<_, FRAMES_AT_ONCE>(reader, layout, &process, &mut walk, &mut makers) {
                break;
            }
        }
    }
    match Outcome::from_number(search.outcome).unwrap() {
        Outcome::Complete => Ok(search.found),
        outcome => Err(outcome),
    }
}

/// The innermost frame of a state.
fn frame_of(reader: &impl ReadUser, layout: &PythonLayout, state: u64) -> Option<u64> {
    let mut block = Block::zeroed();
    block.bytes_mut().fill(0xa5);
    see(reader, layout, state, &mut block)?.frame
}

/// A layout of every kind: 3.10 to 3.12, and one that is like 3.13's.
fn layouts() -> Vec<PythonLayout> {
    let tables = (8..=12).map(|minor| tables::offsets(minor, Flavour::default()).unwrap().clone());
    // 3.13 did away with `_PyCFrame`; frames are those of 3.12.
    let newest = Offsets {
        flags: flags::FRAME_HAS_OWNER,
        thread_cframe: 0,
        ..tables::offsets(12, Flavour::default()).unwrap().clone()
    };
    let all = tables.chain([newest]);
    all.map(|offsets| validate(&offsets).unwrap()).collect()
}

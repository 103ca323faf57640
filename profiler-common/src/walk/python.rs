//! The walk of Python frames.

use super::{Block, ReadUser, checksum};
use crate::{
    arch::{Architecture as _, Machine},
    event::PythonFrame,
    limits::{
        CODE_BLOCK, CODE_PART, FRAME_WINDOW, INNERMOST_FRAMES, MAX_PYTHON_FRAMES, OUTERMOST_FRAMES,
    },
    outcome::Outcome,
    python::{PythonLayout, flags},
};

/// A Python walk under way: its position, and the memory it has read.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct PythonWalk {
    /// The frame to read next; 0 after the outermost.
    pub next: u64,
    /// Frames met so far. More than [`MAX_PYTHON_FRAMES`] do not fit into a sample: see [`frame_slot`].
    pub count: u32,
    /// Most frames that are walked.
    pub most: u32,
    /// How it ended, as a number of [`Outcome`], once [`step`] has returned false.
    pub outcome: u32,
    /// Address of what `frames` holds.
    pub frames_start: u64,
    /// Bytes of it that are valid.
    pub frames_size: u64,
    /// How many code objects the interpreter has made so far, as [`code_version`](super::code_version) tells.
    pub code_version: u32,
    /// The frame that was met last.
    pub above: PythonFrame,
    /// The frame read last, and what lies below it: from 3.11 on that is mostly its callers. Reading several at once is
    /// cheaper than reading each.
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
            most: MAX_PYTHON_FRAMES as u32,
            outcome: Outcome::Truncated as u32,
            frames_start: 0,
            frames_size: 0,
            code_version: 0,
            above: NO_FRAME,
            frames: Block::zeroed(),
            code: Block::zeroed(),
        }
    }

    /// Starts anew at a frame; the blocks keep their contents.
    #[inline(always)]
    pub fn restart(&mut self, frame: u64) {
        self.next = frame;
        self.count = 0;
        self.outcome = Outcome::Truncated as u32;
        self.frames_size = 0;
    }

    /// Has the frame at an address in `frames`; returns its offset, or `None` if it cannot be read.
    #[inline(always)]
    pub(super) fn frame_at<R: ReadUser>(
        &mut self,
        reader: &R,
        layout: &PythonLayout,
        address: u64,
    ) -> Option<u16> {
        const WINDOW: u64 = FRAME_WINDOW as u64;
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
            let page = address & !(Machine::PAGE - 1);
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

const NO_FRAME: PythonFrame = PythonFrame {
    code: 0,
    checksum: 0,
    instruction: 0,
};

/// Bits of a reference that are not part of the address (`Py_TAG_BITS`): objects are aligned to more.
const REFERENCE_TAG: u64 = 7;

/// Steps that a walk of so many frames may take: trampolines take steps too, one for each call from C code into Python.
#[inline(always)]
pub const fn steps_for(frames: usize) -> u32 {
    2 * frames as u32
}

/// The place in a sample of the frame at an index. The outermost places are used in turn, so that of a stack that is
/// too deep they hold the outermost frames in the end, and its middle is left out. `is_outer` has all bits set if the
/// index is not below [`INNERMOST_FRAMES`], else none: a caller computes it without a branch, which the verifier would
/// follow both ways for each frame.
#[inline(always)]
pub fn frame_slot(index: u32, is_outer: u32) -> u32 {
    const INNERMOST: u32 = INNERMOST_FRAMES as u32;
    const OUTERMOST: u32 = OUTERMOST_FRAMES as u32;
    const { assert!(INNERMOST.is_multiple_of(OUTERMOST)) };
    (index & !is_outer) | ((INNERMOST + index % OUTERMOST) & is_outer)
}

/// What is known of a frame's code object before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing: it must be read.
    Nothing,
    /// It is the object that has this checksum: it need not be read.
    Same(u32),
    /// It is that, and its names have been sent to the agent.
    Sent(u32),
}

/// Whether a frame's code object is believed to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// It was one when it was met before.
    Proven,
    /// Its type has to say so.
    Unproven,
}

/// What a walk has met before, and the place for its frames.
pub trait Codes {
    /// A place for a frame.
    type Place: Copy;

    /// The place of the frame at an index: asked for once in a step, because it takes some instructions to find.
    fn place(&self, index: u32) -> Self::Place;

    /// What is known of the code object at an address, to which the frame at an index leads; `above` is the frame that was
    /// met before it, if there is one.
    fn known(&self, index: u32, place: Self::Place, code: u64, above: &PythonFrame) -> Known;

    /// Takes the frame at an index, of whose code object [`Self::known`] has said this much.
    fn put(&mut self, index: u32, place: Self::Place, frame: PythonFrame, known: Known) -> Trust;
}

/// The checksum of a code object; `None` if that has to be read and cannot be.
#[inline(always)]
fn checksum_of<R: ReadUser>(
    reader: &R,
    layout: &PythonLayout,
    code: u64,
    known: Known,
    block: &mut Block<CODE_BLOCK>,
) -> Option<u32> {
    match known {
        Known::Same(checksum) | Known::Sent(checksum) => Some(checksum),
        Known::Nothing => {
            // Reads only what names it: each line of memory that is not in a cache costs as much as the rest of the
            // step.
            let part = code.wrapping_add(u64::from(layout.code_start));
            let is_read = reader.read(part, u32::from(CODE_PART), block);
            is_read.then(|| checksum(block))
        }
    }
}

/// Takes one step outwards: at most one frame goes to `codes`. False if the walk has ended, and `walk.outcome` says
/// how; a walk that uses up its steps ([`steps_for`]) was truncated. It is long because it has a line for each end of a walk.
#[inline(always)]
pub fn step<R: ReadUser>(
    reader: &R,
    layout: &PythonLayout,
    code_type: u64,
    walk: &mut PythonWalk,
    codes: &mut impl Codes,
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
    let count = walk.count;
    if count >= walk.most {
        return walk.end(Outcome::Truncated);
    }
    let place = codes.place(count);
    let known = codes.known(count, place, code, &walk.above);
    let Some(checksum) = checksum_of(reader, layout, code, known, &mut walk.code) else {
        return walk.end(Outcome::Unreadable);
    };
    let Some(instruction) = instruction(reader, layout, &walk.frames, frame, code) else {
        return walk.end(Outcome::Unreadable);
    };
    let frame = PythonFrame {
        code,
        checksum,
        instruction,
    };
    walk.above = frame;
    if codes.put(count, place, frame, known) == Trust::Unproven {
        match class_of(reader, layout, code) {
            Some(class) if class == code_type => {}
            Some(_) => return walk.end(Outcome::NotCode),
            None => return walk.end(Outcome::Unreadable),
        }
    }
    walk.count = count + 1;
    true
}

/// The class of an object, `None` if it cannot be read.
#[inline(always)]
fn class_of<R: ReadUser>(reader: &R, layout: &PythonLayout, object: u64) -> Option<u64> {
    reader.read_u64(object.wrapping_add(u64::from(layout.object_type)))
}

/// Offset of the frame's instruction in its code, in bytes; `None` if it cannot be read.
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

/// The start of a thread's own copy of the instructions.
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

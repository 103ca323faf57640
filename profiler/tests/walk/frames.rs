//! Made-up Python frames, and their layout in memory.

use profiler_common::{
    limits::CODE_PART,
    python::{PythonLayout, flags},
};
use proptest::prelude::{Strategy, any, prop, prop_oneof};

use crate::image::{Image, PAGE};

/// Address of `PyCode_Type`.
pub(crate) const CODE_TYPE: u64 = 0x7f00_0000_1000;
const CODES: u64 = 0x5500_0000_0000;
const REGIONS: u64 = 0x7e00_0000_0000;
/// Larger than a whole chain of adjacent frames: chains begin near the end of one.
const REGION: u64 = 1 << 20;

/// The place of a frame, relative to the one it called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// Below it, as in CPython's data stack, with this many words (locals) between them.
    Below(u64),
    /// In separate memory, at this word of it.
    Apart(u64),
}

/// What a frame's code pointer leads to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Code {
    Sound(u64),
    OfAnotherType,
    Unreadable,
}

/// One frame, before it has an address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) place: Place,
    pub(crate) code: Code,
    /// In code units.
    pub(crate) instruction: u16,
    pub(crate) is_trampoline: bool,
}

fn places() -> impl Strategy<Value = Place> {
    prop_oneof![
        8 => (0_u64..64).prop_map(Place::Below),
        1 => (0_u64..8192).prop_map(Place::Apart),
    ]
}

/// Stacks, some deeper than the budgets, most of whose frames are adjacent.
pub(crate) fn frames(codes: impl Strategy<Value = Code>) -> impl Strategy<Value = Vec<Frame>> {
    let frame = (places(), codes, any::<u16>(), prop::bool::weighted(0.15)).prop_map(
        |(place, code, instruction, is_trampoline)| Frame {
            place,
            code,
            instruction,
            is_trampoline,
        },
    );
    prop::collection::vec(frame, 0..340)
}

/// Valid code objects.
pub(crate) fn sound_codes() -> impl Strategy<Value = Code> {
    (0_u64..20).prop_map(Code::Sound)
}

/// Whole words of a frame that are read.
pub(crate) fn extent(layout: &PythonLayout) -> u64 {
    u64::from(layout.frame_size).next_multiple_of(8)
}

/// A code object ends where readable memory ends: the walk reads no more of it than it uses.
pub(crate) fn code_address(layout: &PythonLayout, code: Code) -> u64 {
    let end = u64::from(layout.code_start) + u64::from(CODE_PART);
    let in_page = PAGE - end.next_multiple_of(8);
    match code {
        Code::Sound(number) => CODES + 2 * PAGE * (number + 1) + in_page,
        Code::OfAnotherType => CODES + in_page,
        Code::Unreadable => CODES + PAGE + in_page,
    }
}

/// Puts a code object, or something that only looks like one.
pub(crate) fn put_code(image: &mut Image, layout: &PythonLayout, code: Code, code_type: u64) {
    let at = code_address(layout, code);
    let word = |offset: u16| at + u64::from(offset);
    image.put_word(word(layout.object_type), code_type);
    image.put_word(word(layout.code_name), at ^ 0x1111_0000);
    image.put_word(word(layout.code_file), at ^ 0x2222_0000);
    image.put_word(word(layout.code_line_table), at ^ 0x3333_0000);
    image.put(word(layout.code_first_line), &7_u32.to_le_bytes());
}

/// Lays out frames, leaf first; returns their addresses.
pub(crate) fn lay_out(image: &mut Image, layout: &PythonLayout, frames: &[Frame]) -> Vec<u64> {
    for number in 0..20 {
        put_code(image, layout, Code::Sound(number), CODE_TYPE);
    }
    put_code(image, layout, Code::OfAnotherType, CODE_TYPE + 8);
    let mut addresses: Vec<u64> = Vec::new();
    for (frame, region) in frames.iter().zip(1..) {
        let apart = |word| REGIONS + REGION * region - 17 * PAGE + word * 8;
        addresses.push(match (frame.place, addresses.last()) {
            (Place::Below(words), Some(called)) => called - extent(layout) - words * 8,
            (Place::Below(word) | Place::Apart(word), _) => apart(word),
        });
    }
    let callers = addresses.iter().skip(1).copied().chain([0]);
    for ((frame, at), caller) in frames.iter().zip(&addresses).zip(callers) {
        put_frame(image, layout, frame, *at, caller);
    }
    addresses
}

/// Puts one frame.
pub(crate) fn put_frame(
    image: &mut Image,
    layout: &PythonLayout,
    frame: &Frame,
    at: u64,
    caller: u64,
) {
    // Bytes that belong to no field are noise.
    image.put(at, &vec![0xc3; usize::try_from(extent(layout)).unwrap()]);
    let code = code_address(layout, frame.code);
    let word = |offset: u16| at + u64::from(offset);
    image.put_word(word(layout.frame_code), code);
    image.put_word(word(layout.frame_previous), caller);
    if layout.flags & flags::INSTRUCTION_IS_INDEX != 0 {
        let index = (2 * u32::from(frame.instruction)) >> layout.instruction_shift;
        image.put(word(layout.frame_instruction), &index.to_le_bytes());
    } else {
        let start = code + u64::from(layout.code_instructions);
        image.put_word(
            word(layout.frame_instruction),
            start + 2 * u64::from(frame.instruction),
        );
    }
    if layout.flags & flags::FRAME_HAS_OWNER != 0 {
        let owner = if frame.is_trampoline {
            // The code of a trampoline must not be read.
            image.put_word(word(layout.frame_code), u64::MAX);
            layout.owner_trampoline
        } else {
            layout.owner_trampoline - 1
        };
        image.put(word(layout.frame_owner), &[owner]);
    }
}

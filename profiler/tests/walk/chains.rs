//! Python frames laid out in all ways: the walk tells exactly what is there.

use profiler_common::{
    event::PythonFrame,
    limits::MAX_PYTHON_FRAMES,
    outcome::Outcome,
    python::{PythonLayout, flags},
    walk::{Block, MAX_STEPS, ReadUser as _, checksum},
};
use proptest::prelude::{
    Just, ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

use crate::{
    image::{Image, PAGE},
    layouts, walk,
};

const CODE_TYPE: u64 = 0x7f00_0000_1000;
const CODES: u64 = 0x5500_0000_0000;
const REGIONS: u64 = 0x7e00_0000_0000;
/// More than a whole chain of adjacent frames takes.
const REGION: u64 = 1 << 20;

/// Where a frame lies, seen from the one it called.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Below it, as in CPython's data stack, with so many words (locals) between them.
    Below(u64),
    /// In memory of its own, at this word of it.
    Apart(u64),
}

/// What a frame's code pointer leads to.
#[derive(Clone, Copy, Debug)]
enum Code {
    Sound(u64),
    OfAnotherType,
    Unreadable,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    place: Place,
    code: Code,
    /// In code units.
    instruction: u16,
    is_trampoline: bool,
}

fn places() -> impl Strategy<Value = Place> {
    prop_oneof![
        8 => (0_u64..64).prop_map(Place::Below),
        1 => (0_u64..8192).prop_map(Place::Apart),
    ]
}

fn frames(
    places: impl Strategy<Value = Place>,
    codes: impl Strategy<Value = Code>,
) -> impl Strategy<Value = Vec<Frame>> {
    let frame = (places, codes, any::<u16>(), prop::bool::weighted(0.15)).prop_map(
        |(place, code, instruction, is_trampoline)| Frame {
            place,
            code,
            instruction,
            is_trampoline,
        },
    );
    prop::collection::vec(frame, 0..340)
}

fn sound_codes() -> impl Strategy<Value = Code> {
    (0_u64..20).prop_map(Code::Sound)
}

/// Whole words of a frame that are read.
fn extent(layout: &PythonLayout) -> u64 {
    u64::from(layout.frame_size).next_multiple_of(8)
}

/// A code object ends where readable memory does: no more of it is read than is used.
fn code_address(layout: &PythonLayout, code: Code) -> u64 {
    let in_page = PAGE - u64::from(layout.code_size).next_multiple_of(8);
    match code {
        Code::Sound(number) => CODES + 2 * PAGE * (number + 1) + in_page,
        Code::OfAnotherType => CODES + in_page,
        Code::Unreadable => CODES + PAGE + in_page,
    }
}

fn put_code(image: &mut Image, layout: &PythonLayout, code: Code, code_type: u64) {
    let at = code_address(layout, code);
    let word = |offset: u16| at + u64::from(offset);
    image.put_word(word(layout.object_type), code_type);
    image.put_word(word(layout.code_name), at ^ 0x1111_0000);
    image.put_word(word(layout.code_file), at ^ 0x2222_0000);
    image.put_word(word(layout.code_line_table), at ^ 0x3333_0000);
    image.put(word(layout.code_first_line), &7_u32.to_le_bytes());
}

/// Lays out frames, leaf first; the addresses of all.
fn lay_out(image: &mut Image, layout: &PythonLayout, frames: &[Frame]) -> Vec<u64> {
    for number in 0..20 {
        put_code(image, layout, Code::Sound(number), CODE_TYPE);
    }
    put_code(image, layout, Code::OfAnotherType, CODE_TYPE + 8);
    let mut addresses: Vec<u64> = Vec::new();
    for (frame, region) in frames.iter().zip(1..) {
        let apart = |word| REGIONS + REGION * region - PAGE * 16 - PAGE + word * 8;
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

fn put_frame(image: &mut Image, layout: &PythonLayout, frame: &Frame, at: u64, caller: u64) {
    // What is not a field is noise.
    image.put(at, &vec![0xc3; usize::try_from(extent(layout)).unwrap()]);
    let code = code_address(layout, frame.code);
    let word = |offset: u16| at + u64::from(offset);
    image.put_word(word(layout.frame_code), code);
    image.put_word(word(layout.frame_previous), caller);
    if layout.flags & flags::INSTRUCTION_IS_INDEX != 0 {
        let index = u32::from(frame.instruction);
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
            // What a trampoline has as its code is not to be looked at.
            image.put_word(word(layout.frame_code), u64::MAX);
            layout.owner_trampoline
        } else {
            layout.owner_trampoline ^ 1
        };
        image.put(word(layout.frame_owner), &[owner]);
    }
}

/// What the walk must tell, from the frames instead of from memory.
fn expected(
    image: &Image,
    layout: &PythonLayout,
    frames: &[Frame],
    addresses: &[u64],
) -> (Outcome, Vec<PythonFrame>) {
    let mut told = Vec::new();
    let steps = MAX_STEPS as usize;
    for (frame, at) in frames.iter().zip(addresses).take(steps) {
        if !image.has(*at, extent(layout)) {
            return (Outcome::Unreadable, told);
        }
        if frame.is_trampoline && layout.flags & flags::FRAME_HAS_OWNER != 0 {
            continue;
        }
        match frame.code {
            Code::Unreadable => return (Outcome::Unreadable, told),
            Code::OfAnotherType => return (Outcome::NotCode, told),
            Code::Sound(_) => {}
        }
        if told.len() == MAX_PYTHON_FRAMES {
            return (Outcome::Truncated, told);
        }
        let code = code_address(layout, frame.code);
        let mut block = Block::zeroed();
        assert!(image.read(code, u32::from(layout.code_size), &mut block));
        told.push(PythonFrame {
            code,
            checksum: checksum(layout, &block),
            instruction: 2 * i32::from(frame.instruction),
        });
    }
    // One step finds out that nothing is left.
    if frames.len() < steps {
        (Outcome::Complete, told)
    } else {
        (Outcome::Truncated, told)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    /// A chain is walked exactly as it is, wherever its frames lie: adjacent, across pages, at the
    /// end of what can be read, far apart.
    #[test]
    fn sound_chains_are_walked_exactly(frames in frames(places(), sound_codes())) {
        for layout in layouts() {
            let mut image = Image::default();
            let addresses = lay_out(&mut image, &layout, &frames);
            let leaf = addresses.first().copied().unwrap_or(0);
            let expected = expected(&image, &layout, &frames, &addresses);
            prop_assert_eq!(walk(&image, &layout, CODE_TYPE, leaf), expected);
        }
    }

    /// What is damaged ends the walk right there: every frame before it is told, because no read
    /// depends on memory that it does not need.
    #[test]
    fn damaged_chains_are_walked_up_to_the_damage(
        frames in frames(places(), prop_oneof![
            200 => sound_codes(),
            1 => Just(Code::OfAnotherType),
            1 => Just(Code::Unreadable),
        ]),
        lost in prop::collection::vec(any::<prop::sample::Index>(), 0..3),
    ) {
        for layout in layouts() {
            let mut image = Image::default();
            let addresses = lay_out(&mut image, &layout, &frames);
            for lost in lost.iter().filter(|_| !addresses.is_empty()) {
                image.forget(*lost.get(&addresses));
            }
            let leaf = addresses.first().copied().unwrap_or(0);
            let expected = expected(&image, &layout, &frames, &addresses);
            prop_assert_eq!(walk(&image, &layout, CODE_TYPE, leaf), expected);
        }
    }

    /// Code objects that differ in one of the fields that name them have different checksums.
    #[test]
    fn checksums_tell_code_objects_apart(field in 0_usize..4, change in 1_u32..) {
        for layout in layouts() {
            let mut image = Image::default();
            put_code(&mut image, &layout, Code::Sound(0), CODE_TYPE);
            let at = code_address(&layout, Code::Sound(0));
            let sum = |image: &Image| {
                let mut block = Block::zeroed();
                assert!(image.read(at, u32::from(layout.code_size), &mut block));
                checksum(&layout, &block)
            };
            let before = sum(&image);
            let offset = [layout.code_first_line, layout.code_name, layout.code_file, layout.code_line_table][field];
            let field = at + u64::from(offset);
            let old = image.read_u64(field).unwrap().to_le_bytes();
            let new = u32::from_le_bytes([old[0], old[1], old[2], old[3]]) ^ change;
            image.put(field, &new.to_le_bytes());
            prop_assert!(sum(&image) != before);
        }
    }
}

/// A chain of exactly the budget is complete; one frame more is cut, and the innermost are kept.
#[test]
fn the_budget_is_exact() {
    for layout in layouts() {
        for (count, outcome) in [
            (MAX_PYTHON_FRAMES, Outcome::Complete),
            (MAX_PYTHON_FRAMES + 1, Outcome::Truncated),
        ] {
            let frame = Frame {
                place: Place::Below(3),
                code: Code::Sound(1),
                instruction: 0,
                is_trampoline: false,
            };
            let frames: Vec<Frame> = (0..count)
                .map(|index| Frame {
                    instruction: u16::try_from(index).unwrap(),
                    ..frame
                })
                .collect();
            let mut image = Image::default();
            let addresses = lay_out(&mut image, &layout, &frames);
            let (ended, told) = walk(&image, &layout, CODE_TYPE, addresses[0]);
            assert_eq!(ended, outcome);
            let instructions: Vec<i32> = told.iter().map(|frame| frame.instruction).collect();
            let innermost: Vec<i32> = (0..512).step_by(2).collect();
            assert_eq!(instructions, innermost);
        }
    }
}

//! Python frames laid out in all ways: the walk returns exactly those that exist.

use profiler_common::{
    event::PythonFrame,
    limits::{CODE_PART, MAX_PYTHON_FRAMES},
    outcome::Outcome,
    python::{PythonLayout, flags},
    walk::{Block, ReadUser as _, checksum, steps_for},
};
use proptest::prelude::{
    Just, ProptestConfig, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};

use crate::{
    frames::{
        CODE_TYPE, Code, Frame, Place, code_address, extent, frames, lay_out, put_code, put_frame,
        sound_codes,
    },
    image::Image,
    layouts, walk,
};

/// The frames that the walk must return, computed without reading memory.
fn expected(
    image: &Image,
    layout: &PythonLayout,
    frames: &[Frame],
    addresses: &[u64],
) -> (Outcome, Vec<PythonFrame>) {
    let mut told = Vec::new();
    let steps = steps_for(MAX_PYTHON_FRAMES) as usize;
    for (frame, at) in frames.iter().zip(addresses).take(steps) {
        if !image.has(*at, extent(layout)) {
            return (Outcome::Unreadable, told);
        }
        if frame.is_trampoline && layout.flags & flags::FRAME_HAS_OWNER != 0 {
            continue;
        }
        match frame.code {
            _ if told.len() == MAX_PYTHON_FRAMES => return (Outcome::Truncated, told),
            Code::Unreadable => return (Outcome::Unreadable, told),
            Code::OfAnotherType => return (Outcome::NotCode, told),
            Code::Sound(_) => {}
        }
        let code = code_address(layout, frame.code);
        let mut block = Block::zeroed();
        let part = code + u64::from(layout.code_start);
        assert!(image.read(part, u32::from(CODE_PART), &mut block));
        told.push(PythonFrame {
            code,
            checksum: checksum(&block),
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

    /// A chain is walked exactly as it is, wherever its frames lie: adjacent, across pages, at the end of readable
    /// memory, far apart.
    #[test]
    fn sound_chains_are_walked_exactly(frames in frames(sound_codes())) {
        for layout in layouts() {
            let mut image = Image::default();
            let addresses = lay_out(&mut image, &layout, &frames);
            let leaf = addresses.first().copied().unwrap_or(0);
            let expected = expected(&image, &layout, &frames, &addresses);
            prop_assert_eq!(walk(&image, &layout, CODE_TYPE, leaf), expected);
        }
    }

    /// Damage ends the walk exactly there: the walk returns every frame before it, because no read depends on memory
    /// that it does not need.
    #[test]
    fn damaged_chains_are_walked_up_to_the_damage(
        frames in frames(prop_oneof![
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

    /// Code objects that differ in any half of a word have different checksums; the words include names, lines and,
    /// from 3.12 on, numbers.
    #[test]
    fn checksums_tell_code_objects_apart(half in 0..u64::from(CODE_PART) / 4, change in 1_u32..) {
        for layout in layouts() {
            let mut image = Image::default();
            put_code(&mut image, &layout, Code::Sound(0), CODE_TYPE);
            let at = code_address(&layout, Code::Sound(0));
            let sum = |image: &Image| {
                let mut block = Block::zeroed();
                let part = at + u64::from(layout.code_start);
                assert!(image.read(part, u32::from(CODE_PART), &mut block));
                checksum(&block)
            };
            let before = sum(&image);
            let word = at + u64::from(layout.code_start) + half / 2 * 8;
            let old = image.read_u64(word).unwrap();
            image.put_word(word, old ^ u64::from(change) << (32 * (half % 2)));
            prop_assert!(sum(&image) != before);
        }
    }
}

/// A chain of exactly the budget is complete; with one frame more the outermost is cut.
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

/// A frame that begins in what was read with another one, and ends behind it, is read anew. No CPython has such frames;
/// the bytes behind the others must not be mistaken for them.
#[test]
fn overlapping_frames_are_told_apart() {
    for layout in layouts() {
        let frame = |instruction| Frame {
            place: Place::Apart(0),
            code: Code::Sound(1),
            instruction,
            is_trampoline: false,
        };
        let mut image = Image::default();
        let leaf = lay_out(&mut image, &layout, &[frame(1)])[0];
        // High enough above that no field of one overlaps a field of the other.
        let above = leaf + 32;
        put_frame(&mut image, &layout, &frame(2), above, 0);
        let word = |offset: u16| leaf + u64::from(offset);
        image.put_word(
            word(layout.frame_code),
            code_address(&layout, Code::Sound(1)),
        );
        image.put_word(word(layout.frame_previous), above);
        if layout.flags & flags::FRAME_HAS_OWNER != 0 {
            image.put(word(layout.frame_owner), &[0]);
        }
        let (outcome, told) = walk(&image, &layout, CODE_TYPE, leaf);
        assert_eq!((outcome, told.len()), (Outcome::Complete, 2));
        assert_eq!(told[1].instruction, 4);
    }
}

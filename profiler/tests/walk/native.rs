//! The walk by frame pointer on made-up stacks.

use profiler_common::{
    limits::MAX_NATIVE_FRAMES,
    outcome::Outcome,
    walk::{Block, NativeWalk, ReadUser, Registers},
};
use proptest::prelude::{ProptestConfig, any, prop, prop_assert_eq, proptest};

use crate::image::Image;

const STACK: u64 = 0x7ffe_0000_0000;

/// Walks from registers as both kernel programs do, one of which reads ahead; returns the return addresses.
fn walk(reader: &impl ReadUser, stack: u64, frame: u64) -> (Outcome, Vec<u64>) {
    let ahead = walk_so(reader, stack, frame, true);
    assert_eq!(ahead, walk_so(reader, stack, frame, false));
    ahead
}

fn walk_so(reader: &impl ReadUser, stack: u64, frame: u64, ahead: bool) -> (Outcome, Vec<u64>) {
    let mut walk = NativeWalk {
        frame: 0,
        lowest: 0,
        count: 0,
        outcome: 0,
        stack_start: 0,
        stack_size: 0,
        stack: Block::zeroed(),
    };
    walk.start(Registers {
        instruction: 1,
        stack,
        frame,
    });
    let mut addresses = Vec::new();
    for _ in 0..=MAX_NATIVE_FRAMES {
        let goes_on = walk.step(reader, ahead, |index, address| {
            assert_eq!(index as usize, addresses.len() + 1);
            assert!((index as usize) < MAX_NATIVE_FRAMES);
            addresses.push(address);
        });
        if !goes_on {
            break;
        }
    }
    assert_eq!(walk.count as usize, addresses.len() + 1);
    (Outcome::from_number(walk.outcome).unwrap(), addresses)
}

/// Lays out frames, the leaf's first, with as many words between them as `words` says; returns their addresses. The
/// outermost has `outermost` as its caller's frame.
fn lay_out(image: &mut Image, words: &[u64], outermost: u64) -> Vec<u64> {
    let mut next = STACK;
    let frames: Vec<u64> = words
        .iter()
        .map(|words| {
            let frame = next + words * 8;
            next = frame + 16;
            frame
        })
        .collect();
    let callers = frames.iter().skip(1).copied().chain([outermost]);
    for ((frame, caller), number) in frames.iter().zip(callers).zip(1..) {
        image.put_word(*frame, caller);
        image.put_word(frame + 8, return_address(number));
    }
    frames
}

fn return_address(number: u64) -> u64 {
    0x40_0000 + number
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// A chain is followed to its end, or up to the budget.
    #[test]
    fn a_chain_is_followed(words in prop::collection::vec(0_u64..2000, 1..100)) {
        let mut image = Image::default();
        let frames = lay_out(&mut image, &words, 0);
        let (outcome, addresses) = walk(&image, STACK, frames[0]);
        // The interrupted instruction is one frame, too.
        let told = words.len().min(MAX_NATIVE_FRAMES - 1);
        let expected: Vec<u64> = (1..).map(return_address).take(told).collect();
        prop_assert_eq!(addresses, expected);
        let complete = words.len() == told;
        prop_assert_eq!(outcome, if complete { Outcome::Complete } else { Outcome::Truncated });
    }

    /// A chain is followed up to a link that no compiler makes: one that goes down, stays, overlaps,
    /// is misaligned, or leads out of the stack. Cycles are among them.
    #[test]
    fn a_broken_link_ends_the_walk(
        words in prop::collection::vec(0_u64..50, 1..60),
        back in 0_u64..2000,
        misaligned in 1_u64..8,
        target in any::<prop::sample::Index>(),
    ) {
        let sound = lay_out(&mut Image::default(), &words, 0);
        let last = sound[sound.len() - 1];
        let links = [
            last,
            last + 8,
            (last - 8).saturating_sub(back * 8).max(8),
            last + 16 + misaligned,
            *target.get(&sound),
            1 << 63,
            u64::MAX - 7,
        ];
        for link in links {
            let mut image = Image::default();
            let frames = lay_out(&mut image, &words, link);
            let (outcome, addresses) = walk(&image, STACK, frames[0]);
            let expected: Vec<u64> = (1..).map(return_address).take(words.len()).collect();
            prop_assert_eq!(addresses, expected, "{:#x}", link);
            prop_assert_eq!(outcome, Outcome::BrokenChain, "{:#x}", link);
        }
    }

    /// The walk survives any registers and any memory.
    #[test]
    fn garbage_is_survived(stack: u64, frame: u64, words in prop::collection::vec(any::<u64>(), 0..64)) {
        let mut image = Image::default();
        for (word, at) in words.iter().zip(0_u64..) {
            image.put_word((frame & !7).wrapping_add(at * 8) & (u64::MAX >> 1), *word);
        }
        for (stack, frame) in [(stack, frame), (0, frame & (u64::MAX >> 1) & !7)] {
            walk(&image, stack, frame);
        }
    }
}

/// No frame pointer at all, a null one, and a null return address.
#[test]
fn the_ends_of_a_chain() {
    let mut image = Image::default();
    assert_eq!(walk(&image, STACK, 0), (Outcome::Complete, vec![]));
    assert_eq!(walk(&image, STACK, STACK), (Outcome::BrokenChain, vec![]));
    assert_eq!(walk(&image, STACK, 5), (Outcome::BrokenChain, vec![]));
    image.put_word(STACK, STACK + 64);
    image.put_word(STACK + 8, 0);
    assert_eq!(walk(&image, STACK, STACK), (Outcome::Complete, vec![]));
    // No frame lies below the stack pointer.
    image.put_word(STACK + 8, 7);
    assert_eq!(
        walk(&image, STACK + 8, STACK),
        (Outcome::BrokenChain, vec![])
    );
}

/// A chain that never ends is cut; the leaf's addresses are kept.
#[test]
fn an_endless_chain_is_cut() {
    struct Endless;
    impl ReadUser for Endless {
        fn read<const N: usize>(&self, address: u64, size: u32, block: &mut Block<N>) -> bool {
            let words = block.bytes_mut()[..size as usize].chunks_mut(16);
            for (frame, pair) in (address..).step_by(16).zip(words) {
                let whole = [(frame + 16).to_le_bytes(), frame.to_le_bytes()].concat();
                pair.copy_from_slice(&whole[..pair.len()]);
            }
            true
        }
        fn read_u64(&self, _: u64) -> Option<u64> {
            None
        }
    }
    let (outcome, addresses) = walk(&Endless, 16, 16);
    assert_eq!(outcome, Outcome::Truncated);
    let innermost: Vec<u64> = (1..64).map(|it| it * 16).collect();
    assert_eq!(addresses, innermost);
}

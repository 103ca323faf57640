//! Memory that lies: the walk ends, stays within its blocks, and believes nothing without a check.

use std::cell::Cell;

use profiler_common::{
    limits::{CODE_BLOCK, MAX_PYTHON_FRAMES},
    outcome::Outcome,
    python::{PythonLayout, flags, thread_local},
    walk::{Block, Position, ReadUser, attached_place, holder},
};
use proptest::prelude::{ProptestConfig, Strategy, any, prop, proptest};

use crate::{frame_of, image::Image, layouts, position_at, process, search, walk, walk_checked};

const CODE_TYPE: u64 = 0x7f00_0000_1000;

/// Memory that answers at every address, by the seed.
#[derive(Debug)]
struct Liar {
    seed: u64,
    /// How many of 256 reads fail.
    unreadable: u64,
    /// How many of 256 words are the code type: without them no walk gets far.
    of_code_type: u64,
    /// Whether it answers differently each time, like the memory of running threads.
    changes: bool,
    reads: Cell<u64>,
    /// The last code object read: its address, and the whole block.
    code: Cell<u64>,
}

impl Liar {
    /// A number that depends on the address, and on the time if the memory changes.
    fn noise(&self, address: u64) -> u64 {
        let time = if self.changes { self.reads.get() } else { 0 };
        // Finishing step of SplitMix64.
        let mut mix = self.seed ^ address.rotate_left(17) ^ time.rotate_left(41);
        mix = (mix ^ (mix >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mix = (mix ^ (mix >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mix ^ (mix >> 31)
    }

    fn fails(&self, address: u64) -> bool {
        self.noise(!address) & 255 < self.unreadable
    }

    /// Mostly pointers into a few frames' worth of memory, so that lists meet and form cycles; some that no process
    /// has.
    fn word(&self, address: u64) -> u64 {
        let noise = self.noise(address);
        if noise & 255 < self.of_code_type {
            return CODE_TYPE;
        }
        match noise >> 8 & 31 {
            0 => 0,
            1 => noise,
            2 => u64::MAX - (noise >> 16 & 127),
            3 => noise >> 16 & 4095,
            4 => 0x5500_0000_0000 | (noise >> 16 & 0xffff),
            _ => 0x5500_0000_0000 | (noise >> 16 & 0xfff8),
        }
    }
}

impl ReadUser for Liar {
    fn read<const N: usize>(&self, address: u64, size: u32, block: &mut Block<N>) -> bool {
        self.reads.set(self.reads.get() + 1);
        let bytes = &mut block.bytes_mut()[..size as usize];
        if self.fails(address) {
            bytes.fill(0xa5);
            return false;
        }
        for (chunk, index) in bytes.chunks_mut(8).zip(0_u64..) {
            let word = self.word(address.wrapping_add(index * 8)).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        if N == CODE_BLOCK {
            self.code.set(address);
        }
        true
    }

    fn read_u64(&self, address: u64) -> Option<u64> {
        self.reads.set(self.reads.get() + 1);
        (!self.fails(address)).then(|| self.word(address))
    }
}

fn liars() -> impl Strategy<Value = Liar> {
    let unreadable = prop::sample::select(vec![0, 0, 2, 30, 256]);
    let of_code_type = prop::sample::select(vec![0, 40, 128, 256]);
    (any::<u64>(), unreadable, of_code_type, any::<bool>()).prop_map(
        |(seed, unreadable, of_code_type, changes)| Liar {
            seed,
            unreadable,
            of_code_type,
            changes,
            reads: Cell::new(0),
            code: Cell::default(),
        },
    )
}

/// Walks, and checks for every frame that its code object was read and has the right type.
fn survive(liar: &Liar, layout: &PythonLayout, frame: u64) {
    let (_, frames) = walk_checked(liar, layout, CODE_TYPE, frame, |frame| {
        let start = u64::from(layout.code_start);
        assert_eq!(frame.code.wrapping_add(start), liar.code.get());
    });
    for frame in frames.iter().filter(|_| !liar.changes) {
        let class = frame.code.wrapping_add(u64::from(layout.object_type));
        assert_eq!(liar.word(class), CODE_TYPE);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    /// The walk survives memory that lies, from the runtime to the outermost frame.
    #[test]
    fn lies_are_survived(liar in liars(), runtime: u64, thread_pointer: u64, frame: u64) {
        for layout in layouts() {
            for pointer in [thread_pointer, 0, CODE_TYPE, 0x5500_0001_0000] {
                for is_for_all in [false, true] {
                    let position = position_at(pointer, 0, pointer.wrapping_sub(0x1_0000), 0);
                    let state = search(&liar, &layout, runtime, &position, is_for_all);
                    if let Ok(state) = state && let Some(frame) = frame_of(&liar, &layout, state) {
                        survive(&liar, &layout, frame);
                    }
                }
            }
            let mut process = process(runtime);
            for entry in [thread_local::UNKNOWN, 1, 8, 16, u32::MAX] {
                process.thread_local_entry = entry;
                attached_place(&liar, &process, thread_pointer);
            }
            let mut position = Position::new(frame, frame, thread_pointer);
            holder(
                &liar,
                &layout,
                &process,
                &mut position,
                || runtime,
                &mut Block::zeroed(),
            );
            survive(&liar, &layout, frame);
            survive(&liar, &layout, frame & !7);
        }
    }

    /// The walk stays within its blocks even with a layout that the agent would never load.
    #[test]
    fn any_layout_is_survived(
        liar in liars(),
        layout in prop::collection::vec(any::<u8>(), size_of::<PythonLayout>()),
        runtime: u64,
        frame: u64,
    ) {
        let layout: PythonLayout = bytemuck::pod_read_unaligned(&layout);
        let position = position_at(frame, frame, frame.wrapping_sub(0x1_0000), 0);
        let _ = search(&liar, &layout, runtime, &position, true);
        frame_of(&liar, &layout, frame);
        holder(
            &liar,
            &layout,
            &process(runtime),
            &mut Position::new(frame, frame, frame.wrapping_sub(0x1_0000)),
            || 0,
            &mut Block::zeroed(),
        );
        survive(&liar, &layout, frame);
    }
}

/// A frame that is its own caller, directly or not, uses up the budget and no more.
#[test]
fn cyclic_frames_end_the_walk() {
    for layout in layouts() {
        for length in [1, 2, 7] {
            let mut image = Image::default();
            let code = 0x9000;
            image.put(code, &[0; CODE_BLOCK]);
            image.put_word(code + u64::from(layout.object_type), CODE_TYPE);
            for number in 0..length {
                put_frame(&mut image, &layout, number, (number + 1) % length, code);
            }
            let (outcome, frames) = walk(&image, &layout, CODE_TYPE, frame_address(0));
            assert_eq!(
                (outcome, frames.len()),
                (Outcome::Truncated, MAX_PYTHON_FRAMES)
            );
            if layout.flags & flags::FRAME_HAS_OWNER != 0 {
                for number in 0..length {
                    let owner = frame_address(number) + u64::from(layout.frame_owner);
                    image.put(owner, &[layout.owner_trampoline]);
                }
                let ended = walk(&image, &layout, CODE_TYPE, frame_address(0));
                assert_eq!(ended, (Outcome::Truncated, vec![]));
            }
        }
    }
}

fn frame_address(number: u64) -> u64 {
    0x10_0ff8 + number * 200
}

fn put_frame(image: &mut Image, layout: &PythonLayout, number: u64, caller: u64, code: u64) {
    let at = frame_address(number);
    image.put(at, &[0; 128]);
    image.put_word(at + u64::from(layout.frame_previous), frame_address(caller));
    image.put_word(at + u64::from(layout.frame_code), code);
}

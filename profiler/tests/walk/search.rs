//! The search for a thread's state through interpreters made up.

use profiler_common::{
    outcome::Outcome,
    python::{PythonLayout, flags},
    walk::{Block, MAX_SEARCH_STEPS, ReadUser as _, Remembered, current_frame, remembered},
};
use proptest::prelude::{ProptestConfig, prop, prop_assert_eq, proptest};

use crate::{image::Image, layouts, search};

const RUNTIME: u64 = 0x7f00_0000_0000;
const STATES: u64 = 0x5500_0000_0000;
/// More than any interpreter or thread state takes of the fields that are read.
const STRIDE: u64 = 1 << 20;

/// Addresses of interpreters and of the thread states of each.
struct Interpreters {
    image: Image,
    layout: PythonLayout,
    states: u64,
}

impl Interpreters {
    fn new(layout: PythonLayout) -> Self {
        let mut image = Image::default();
        image.put_word(RUNTIME + u64::from(layout.runtime_interpreters), 0);
        Self {
            image,
            layout,
            states: 0,
        }
    }

    fn allocate(&mut self) -> u64 {
        self.states += 1;
        STATES + self.states * STRIDE
    }

    /// Adds an interpreter in front of the others, as CPython does, with the states of threads.
    fn add(&mut self, threads: &[u64]) -> Vec<u64> {
        let interpreter = self.allocate();
        let head = RUNTIME + u64::from(self.layout.runtime_interpreters);
        let next = self.image.read_u64(head).unwrap();
        self.image.put_word(head, interpreter);
        self.image
            .put_word(interpreter + u64::from(self.layout.interpreter_next), next);
        let mut link = interpreter + u64::from(self.layout.interpreter_threads);
        let mut states = Vec::new();
        for pointer in threads {
            let state = self.allocate();
            self.image.put_word(link, state);
            self.image
                .put_word(state + u64::from(self.layout.thread_id), *pointer);
            // It runs something: one that does not would be searched past.
            let frame = state + STRIDE / 2;
            self.image
                .put_word(state + u64::from(self.layout.thread_frame), frame);
            self.image
                .put_word(frame + u64::from(self.layout.cframe_frame), frame);
            link = state + u64::from(self.layout.thread_next);
            states.push(state);
        }
        self.image.put_word(link, 0);
        states
    }

    fn search(&self, pointer: u64) -> Result<u64, Outcome> {
        search(&self.image, &self.layout, RUNTIME, pointer)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every thread of every interpreter is found; another one is not.
    #[test]
    fn every_thread_is_found(sizes in prop::collection::vec(0_u64..9, 0..5)) {
        for layout in layouts() {
            let mut interpreters = Interpreters::new(layout);
            let mut all = Vec::new();
            for (size, number) in sizes.iter().zip(1_u64..) {
                let pointers: Vec<u64> = (0..*size).map(|it| number << 32 | it << 8).collect();
                let states = interpreters.add(&pointers);
                all.extend(pointers.into_iter().zip(states));
            }
            for (pointer, state) in all {
                prop_assert_eq!(interpreters.search(pointer), Ok(state));
            }
            prop_assert_eq!(interpreters.search(77), Err(Outcome::NoThreadState));
        }
    }
}

/// A thread state that is remembered says at once what the search would have found, and nothing once it is
/// another thread's, or gone.
#[test]
fn a_remembered_state_is_asked_whose_it_is() {
    for layout in layouts() {
        let mut interpreters = Interpreters::new(layout);
        let state = interpreters.add(&[7 << 8])[0];
        let ask = |image: &Image, pointer| {
            // What an earlier use has left must not matter.
            let mut block = Block::zeroed();
            block.bytes_mut().fill(0xa5);
            remembered(image, &layout, state, pointer, &mut block)
        };
        let image = &mut interpreters.image;
        let frame = current_frame(image, &layout, state).unwrap();
        assert_ne!(frame, 0);
        assert_eq!(ask(image, 7 << 8), Remembered::Frame(frame));
        assert_eq!(ask(image, 8 << 8), Remembered::Gone);
        image.put_word(state + u64::from(layout.thread_frame), 0);
        assert_eq!(ask(image, 7 << 8), Remembered::Frame(0));
        if layout.flags & flags::FRAME_IN_CFRAME != 0 {
            image.put_word(state + u64::from(layout.thread_frame), 8);
            assert_eq!(ask(image, 7 << 8), Remembered::Unreadable);
        }
        image.forget(state);
        assert_eq!(ask(image, 7 << 8), Remembered::Gone);
    }
}

/// As many threads as there are steps are searched; one more is too many, and so is a cycle.
#[test]
fn the_search_is_bounded() {
    for layout in layouts() {
        let pointers: Vec<u64> = (1..=u64::from(MAX_SEARCH_STEPS) + 1).collect();
        let mut interpreters = Interpreters::new(layout);
        let states = interpreters.add(&pointers);
        let last = pointers.len() - 1;
        assert_eq!(
            interpreters.search(pointers[last - 1]),
            Ok(states[last - 1])
        );
        assert_eq!(
            interpreters.search(pointers[last]),
            Err(Outcome::TooManyThreads)
        );
    }
}

/// Cyclic lists of threads and of interpreters use up the steps, and no more.
#[test]
fn cyclic_lists_end_the_search() {
    for layout in layouts() {
        let mut interpreters = Interpreters::new(layout);
        let states = interpreters.add(&[1, 2, 3]);
        let next = u64::from(layout.thread_next);
        interpreters.image.put_word(states[2] + next, states[0]);
        assert_eq!(interpreters.search(3), Ok(states[2]));
        assert_eq!(interpreters.search(4), Err(Outcome::TooManyThreads));

        let mut interpreters = Interpreters::new(layout);
        interpreters.add(&[]);
        let head = RUNTIME + u64::from(layout.runtime_interpreters);
        let only = interpreters.image.read_u64(head).unwrap();
        let next = u64::from(layout.interpreter_next);
        interpreters.image.put_word(only + next, only);
        assert_eq!(interpreters.search(4), Err(Outcome::TooManyThreads));
    }
}

/// Lists that lead out of what can be read say so.
#[test]
fn unreadable_lists_end_the_search() {
    for layout in layouts() {
        let mut interpreters = Interpreters::new(layout);
        let states = interpreters.add(&[1, 2, 3]);
        let next = u64::from(layout.thread_next);
        interpreters.image.put_word(states[1] + next, u64::MAX - 7);
        assert_eq!(interpreters.search(2), Ok(states[1]));
        assert_eq!(interpreters.search(3), Err(Outcome::Unreadable));
        interpreters
            .image
            .forget(RUNTIME + u64::from(layout.runtime_interpreters));
        assert_eq!(interpreters.search(2), Err(Outcome::Unreadable));
    }
}

/// The current frame hangs below the thread state, or one pointer further.
#[test]
fn the_current_frame_is_found() {
    for layout in layouts() {
        let (state, cframe, frame) = (0x1000, 0x2000, 0x3000);
        let slot = state + u64::from(layout.thread_frame);
        let mut image = Image::default();
        assert_eq!(current_frame(&image, &layout, state), None);
        image.put_word(slot, 0);
        assert_eq!(current_frame(&image, &layout, state), Some(0));
        if layout.flags & flags::FRAME_IN_CFRAME == 0 {
            image.put_word(slot, frame);
        } else {
            image.put_word(slot, cframe);
            assert_eq!(current_frame(&image, &layout, state), None);
            image.put_word(cframe + u64::from(layout.cframe_frame), frame);
        }
        assert_eq!(current_frame(&image, &layout, state), Some(frame));
    }
}

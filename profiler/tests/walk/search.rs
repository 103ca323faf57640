//! Which state a thread runs in, in made-up interpreters.

use profiler_common::{
    code::StateUse,
    limits::STATE_PART,
    outcome::Outcome,
    python::{Process, PythonLayout, STATUS_ACTIVE, flags, thread_local},
    walk::{
        Block, MAX_PAGE_STEPS, MAX_SCAN_STEPS, MAX_SEARCH_STEPS, Position, ReadUser as _,
        StackPages, StackScan, attached_place, has_c_frames, holder, may_be_in,
    },
};
use proptest::prelude::{ProptestConfig, prop, prop_assert_eq, proptest};

use crate::{frame_of, image::Image, layouts, position_at, process, search};

const RUNTIME: u64 = 0x7f00_0000_0000;
const STATES: u64 = 0x5500_0000_0000;
/// Larger than the fields that are read of any interpreter or thread state.
const STRIDE: u64 = 1 << 20;
/// Bytes from a thread's stack pointer to the end of its stack.
const STACK: u64 = 1 << 16;

/// The thread pointer of a thread by its number: its stack lies below.
fn pointer(number: u64) -> u64 {
    0x7e00_0000_0000 + number * STRIDE
}

/// The position of that thread.
fn position(number: u64) -> Position {
    position_at(pointer(number), 0, pointer(number) - STACK, 0)
}

/// This many bytes above a thread's stack pointer.
fn above(number: u64, bytes: u64) -> u64 {
    pointer(number) - STACK + bytes
}

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

    /// Adds an interpreter in front of the others, as CPython does, with states made by these threads; each state runs
    /// something on the stack of the thread that made it.
    fn add(&mut self, threads: &[u64]) -> Vec<u64> {
        let interpreter = self.allocate();
        let head = RUNTIME + u64::from(self.layout.runtime_interpreters);
        let next = self.image.read_u64(head).unwrap();
        self.image.put_word(head, interpreter);
        self.image
            .put_word(interpreter + u64::from(self.layout.interpreter_next), next);
        let mut link = interpreter + u64::from(self.layout.interpreter_threads);
        let mut states = Vec::new();
        for number in threads {
            let state = self.allocate();
            self.image.put_word(link, state);
            self.image
                .put_word(state + u64::from(self.layout.thread_id), pointer(*number));
            self.run_at(state, above(*number, 0x800));
            link = state + u64::from(self.layout.thread_next);
            states.push(state);
        }
        self.image.put_word(link, 0);
        states
    }

    /// The state's innermost C frame is there.
    fn run_at(&mut self, state: u64, stack: u64) {
        let layout = self.layout;
        let frame = state + STRIDE / 2;
        let slot = state + u64::from(layout.thread_frame);
        self.image.put_word(slot, frame);
        // As many bytes can be read as a frame has.
        self.image.put(stack, &[0; 256]);
        if layout.thread_cframe != 0 {
            self.image
                .put_word(state + u64::from(layout.thread_cframe), stack);
            self.image
                .put_word(stack + u64::from(layout.cframe_frame), frame);
        } else if has_c_frames(&layout) {
            self.image.put(frame + u64::from(layout.frame_owner), &[0]);
            self.image
                .put_word(frame + u64::from(layout.frame_previous), stack);
            self.image
                .put_word(stack + u64::from(layout.frame_previous), 0);
            let owner = stack + u64::from(layout.frame_owner);
            self.image.put(owner, &[layout.owner_trampoline]);
        }
    }

    /// The state runs nothing.
    fn idle(&mut self, state: u64) {
        let slot = state + u64::from(self.layout.thread_frame);
        let root = state + 0xc0;
        let in_cframe = self.layout.flags & flags::FRAME_IN_CFRAME != 0;
        self.image.put_word(slot, if in_cframe { root } else { 0 });
        self.image
            .put_word(root + u64::from(self.layout.cframe_frame), 0);
    }

    /// Some thread has attached the state.
    fn attach(&mut self, state: u64) {
        let status = u64::from(self.layout.thread_status);
        if status == 0 {
            let current = RUNTIME + u64::from(self.layout.runtime_current);
            self.image.put_word(current, state);
        } else {
            self.image.put(state + status, &STATUS_ACTIVE.to_le_bytes());
        }
    }

    fn search(&self, number: u64) -> Result<u64, Outcome> {
        search(&self.image, &self.layout, RUNTIME, &position(number), false)
    }

    fn search_all(&self, number: u64) -> Result<u64, Outcome> {
        search(&self.image, &self.layout, RUNTIME, &position(number), true)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    /// The search finds the state of every thread of every interpreter, and none for another thread.
    #[test]
    fn every_thread_is_found(sizes in prop::collection::vec(0_u64..9, 0..5)) {
        for layout in layouts() {
            let mut interpreters = Interpreters::new(layout);
            let mut all = Vec::new();
            for (size, group) in sizes.iter().zip(1_u64..) {
                let threads: Vec<u64> = (0..*size).map(|it| group * 16 + it).collect();
                let states = interpreters.add(&threads);
                all.extend(threads.into_iter().zip(states));
            }
            for (thread, state) in all {
                prop_assert_eq!(interpreters.search(thread), Ok(state));
                // Other states were handed over.
                let found = interpreters.search_all(thread);
                prop_assert_eq!(found.is_ok() || !has_c_frames(&layout), true);
            }
            prop_assert_eq!(interpreters.search(7), Err(Outcome::NoThreadState));
            prop_assert_eq!(interpreters.search_all(7), Err(Outcome::StateUnknown));
        }
    }
}

/// If a thread has several states, the search finds the one whose C frame is the nearest: it was called last.
#[test]
fn the_nearest_is_found() {
    for layout in layouts() {
        for interpreters_of_one in [false, true] {
            let mut interpreters = Interpreters::new(layout);
            let states = if interpreters_of_one {
                interpreters.add(&[1, 1, 1])
            } else {
                (0..3).map(|_| interpreters.add(&[1])[0]).collect()
            };
            for (state, bytes) in states.iter().zip([0x3000, 0x1000, 0x2000]) {
                interpreters.run_at(*state, above(1, bytes));
            }
            let expected = if has_c_frames(&layout) {
                Ok(states[1])
            } else {
                Err(Outcome::StateUnknown)
            };
            assert_eq!(interpreters.search(1), expected);
        }
    }
}

/// A state that another thread has made, and whose C frame is the nearest, hides those of the thread's own. It is found
/// only if it is as near as the frame of an attached state must be.
#[test]
fn a_state_that_was_handed_over_hides_others() {
    for layout in layouts().into_iter().filter(has_c_frames) {
        let mut interpreters = Interpreters::new(layout);
        let states = interpreters.add(&[1, 2]);
        interpreters.run_at(states[0], above(1, 0x6000));
        interpreters.run_at(states[1], above(1, 0x5000));
        assert_eq!(interpreters.search_all(1), Err(Outcome::StateUnknown));
        interpreters.run_at(states[1], above(1, 0x1000));
        assert_eq!(interpreters.search_all(1), Ok(states[1]));
        assert_eq!(interpreters.search(1), Ok(states[0]));
        interpreters.run_at(states[1], above(1, 0x7000));
        assert_eq!(interpreters.search_all(1), Ok(states[0]));
        interpreters.run_at(states[1], above(2, 0x1000));
        assert_eq!(interpreters.search_all(1), Ok(states[0]));
    }
}

/// A state that runs on another stack, or that is attached, is not this thread's, whichever thread made it.
#[test]
fn a_state_that_was_given_away_is_not_found() {
    for layout in layouts().into_iter().filter(has_c_frames) {
        let mut interpreters = Interpreters::new(layout);
        let state = interpreters.add(&[1])[0];
        for elsewhere in [above(2, 0x1000), above(1, 0) - 8, above(1, STACK)] {
            interpreters.run_at(state, elsewhere);
            assert_eq!(interpreters.search(1), Err(Outcome::StateUnknown));
        }
        interpreters.run_at(state, above(1, 0x1000));
        assert_eq!(interpreters.search(1), Ok(state));
        interpreters.attach(state);
        assert_eq!(interpreters.search(1), Err(Outcome::StateUnknown));
        // It hides what lies behind it, too.
        let outer = interpreters.add(&[1])[0];
        interpreters.run_at(outer, above(1, 0x2000));
        assert_eq!(interpreters.search(1), Err(Outcome::StateUnknown));
        interpreters.run_at(outer, above(1, 0x800));
        assert_eq!(interpreters.search(1), Ok(outer));
    }
}

/// If all states of a thread run nothing, it runs no Python, unless it may have been handed another one.
#[test]
fn idle_states_have_no_frames() {
    for layout in layouts() {
        let mut interpreters = Interpreters::new(layout);
        let states = interpreters.add(&[1, 1, 2]);
        interpreters.idle(states[0]);
        interpreters.idle(states[1]);
        // Before 3.10 nothing tells which thread runs states that were made ahead.
        let expected = if has_c_frames(&layout) {
            Outcome::NoFrame
        } else {
            Outcome::StateUnknown
        };
        assert_eq!(interpreters.search(1), Err(expected));
        assert_eq!(interpreters.search_all(1), Err(Outcome::StateUnknown));
    }
}

/// If a thread has made several states of one interpreter, whichever other states lie between, some are for other
/// threads: before 3.10 nothing tells which thread runs which. One state in each of several interpreters is usual.
#[test]
fn states_made_ahead_are_noticed() {
    for layout in layouts() {
        let mut interpreters = Interpreters::new(layout);
        let state = interpreters.add(&[1, 2, 3])[1];
        interpreters.add(&[1, 4]);
        assert_eq!(interpreters.search(2), Ok(state));
        let others: Vec<u64> = (5..50).collect();
        let state = interpreters.add(&[&[1], &others[..], &[1]].concat())[1];
        let expected = if has_c_frames(&layout) {
            Ok(state)
        } else {
            Err(Outcome::StateUnknown)
        };
        assert_eq!(interpreters.search(5), expected);
    }
}

/// A frame that lies right behind its state, as any object may, is found.
#[test]
fn a_frame_beside_its_state() {
    for layout in layouts() {
        if layout.flags & flags::FRAME_IN_CFRAME != 0 {
            continue;
        }
        let mut interpreters = Interpreters::new(layout);
        let state = interpreters.add(&[1])[0];
        let frame = state + 0x400;
        let at = |offset: u16| frame + u64::from(offset);
        interpreters
            .image
            .put_word(state + u64::from(layout.thread_frame), frame);
        interpreters
            .image
            .put_word(at(layout.frame_previous), above(1, 0x800));
        assert_eq!(interpreters.search(1), Ok(state));
    }
}

/// The search reads as many states as it has steps; one more is too many.
#[test]
fn the_search_is_bounded() {
    for layout in layouts() {
        // One step more finds the end of the list, and one follows a frame.
        let most = u64::from(MAX_SEARCH_STEPS) - 3;
        for (count, is_found) in [(most, true), (most + 3, false)] {
            let threads: Vec<u64> = (1..=count).collect();
            let mut interpreters = Interpreters::new(layout);
            let states = interpreters.add(&threads);
            let expected = if is_found {
                Ok(*states.last().unwrap())
            } else {
                Err(Outcome::TooManyThreads)
            };
            assert_eq!(interpreters.search(count), expected);
        }
    }
}

/// Cyclic lists of threads, of interpreters and of frames use up the steps, and no more.
#[test]
fn cyclic_lists_end_the_search() {
    for layout in layouts() {
        let mut interpreters = Interpreters::new(layout);
        let states = interpreters.add(&[1, 2, 3]);
        let next = u64::from(layout.thread_next);
        interpreters.image.put_word(states[2] + next, states[0]);
        assert_eq!(interpreters.search(3), Err(Outcome::TooManyThreads));

        let mut interpreters = Interpreters::new(layout);
        interpreters.add(&[]);
        let head = RUNTIME + u64::from(layout.runtime_interpreters);
        let only = interpreters.image.read_u64(head).unwrap();
        let next = u64::from(layout.interpreter_next);
        interpreters.image.put_word(only + next, only);
        assert_eq!(interpreters.search(4), Err(Outcome::TooManyThreads));

        if layout.thread_cframe == 0 && has_c_frames(&layout) {
            let mut interpreters = Interpreters::new(layout);
            let state = interpreters.add(&[1])[0];
            let frame = state + STRIDE / 2;
            let previous = frame + u64::from(layout.frame_previous);
            interpreters.image.put_word(previous, frame);
            assert_eq!(interpreters.search(1), Err(Outcome::TooManyThreads));
        }
    }
}

/// A list that leads out of readable memory ends the search as unreadable.
#[test]
fn unreadable_lists_end_the_search() {
    for layout in layouts() {
        let mut interpreters = Interpreters::new(layout);
        let states = interpreters.add(&[1, 2, 3]);
        let next = u64::from(layout.thread_next);
        interpreters.image.put_word(states[1] + next, u64::MAX - 7);
        assert_eq!(interpreters.search(2), Err(Outcome::Unreadable));
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
        assert_eq!(frame_of(&image, &layout, state), None);
        image.put_word(slot, 0);
        assert_eq!(frame_of(&image, &layout, state), Some(0));
        if layout.flags & flags::FRAME_IN_CFRAME == 0 {
            image.put_word(slot, frame);
        } else {
            image.put_word(slot, cframe);
            assert_eq!(frame_of(&image, &layout, state), None);
            image.put_word(cframe + u64::from(layout.cframe_frame), frame);
        }
        assert_eq!(frame_of(&image, &layout, state), Some(frame));
    }
}

/// A thread's own stack ends at its thread pointer, the first thread's at the start of the process's stack; an address
/// far from both is on another stack.
#[test]
fn stacks_end_where_they_began() {
    let first = 0x7fff_0000_0000;
    let end = |stack| position_at(pointer(1), 0, stack, first).stack_end;
    assert_eq!(end(pointer(1) - 0x1000), pointer(1));
    assert_eq!(end(first - 0x1000), first);
    assert_eq!(end(pointer(1) + 0x1000), 0);
    assert_eq!(end(STATES), 0);
}

/// The thread that was last seen to have a state is in it; until one was seen, the thread that made it is.
#[test]
fn the_last_user_may_be_in_a_state() {
    let last = |thread_pointer, maker| StateUse {
        thread_pointer,
        maker,
        process_start: 1,
        detached_at: 0,
    };
    for is_own in [false, true] {
        let maker = if is_own { 7 } else { 9 };
        assert_eq!(may_be_in(is_own, None, 7), is_own);
        assert!(may_be_in(is_own, Some(&last(7, maker)), 7));
        assert!(!may_be_in(is_own, Some(&last(8, maker)), 7));
    }
}

/// The use of a state that is gone says nothing about the state that a thread has made at its address.
#[test]
fn states_at_an_address_that_was_used() {
    let of_another = StateUse {
        thread_pointer: 8,
        maker: 9,
        process_start: 1,
        detached_at: 0,
    };
    assert!(may_be_in(true, Some(&of_another), 7));
    assert!(!may_be_in(false, Some(&of_another), 7));
}

/// Whether the GIL's holder is taken for the thread's, with its C frame there and made by that thread.
fn is_holder(layout: &PythonLayout, position: &Position, frame: u64, maker: u64) -> bool {
    let mut interpreters = Interpreters::new(*layout);
    let state = interpreters.add(&[maker])[0];
    interpreters.run_at(state, frame);
    interpreters.attach(state);
    let process = Process {
        evaluation_start: 0x40_0000,
        evaluation_size: 0x1000,
        ..process(RUNTIME)
    };
    let mut block = Block::zeroed();
    let found = holder(
        &interpreters.image,
        layout,
        &process,
        &mut Position::new(
            position.thread_pointer,
            position.instruction,
            position.stack,
        ),
        || 0,
        &mut block,
    );
    assert!(found == 0 || found == state);
    found == state
}

/// The GIL's holder is this thread's if its C frame is near, whichever thread made it; if the frame is far on the
/// thread's own stack, only if the thread made it. Before 3.10 only a thread in the bytecode loop certainly has it.
#[test]
fn the_holder_of_the_gil() {
    for layout in layouts().iter().filter(|it| it.runtime_current != 0) {
        let mut position = position(1);
        if layout.thread_cframe == 0 {
            assert!(!is_holder(layout, &position, above(1, 0x800), 1));
            position.instruction = 0x40_0fff;
            assert!(is_holder(layout, &position, above(1, 0x800), 2));
            position.instruction = 0x40_1000;
            assert!(!is_holder(layout, &position, above(1, 0x800), 1));
            continue;
        }
        for maker in [1, 2] {
            assert!(is_holder(layout, &position, above(1, 0), maker));
            assert!(is_holder(layout, &position, above(1, 0x3ff8), maker));
            assert!(!is_holder(layout, &position, above(1, 0) - 8, maker));
            assert!(!is_holder(layout, &position, above(2, 0x800), maker));
            assert_eq!(
                is_holder(layout, &position, above(1, 0x8000), maker),
                maker == 1
            );
        }
        // On a stack that the program chose, no far frame is the thread's own.
        position.stack = above(2, 0);
        assert!(is_holder(layout, &position, above(2, 0x800), 2));
        assert!(!is_holder(layout, &position, above(2, 0x8000), 1));
    }
}

/// All that each sample reads of the state of the GIL's holder lies in the part of it that is read.
#[test]
fn the_part_of_a_state() {
    let has_part = |it: &&PythonLayout| it.runtime_current != 0 && it.thread_cframe != 0;
    for layout in layouts().iter().filter(has_part) {
        let fields = [
            layout.thread_interpreter,
            layout.thread_frame,
            layout.thread_cframe,
        ];
        assert!(fields.iter().all(|it| usize::from(*it) + 8 <= STATE_PART));
    }
}

/// The value of the thread-local: at an offset, in a module's block, and in blocks that a thread does not have.
#[test]
fn the_attached_state() {
    let mut image = Image::default();
    let (thread, vector, block, state) = (pointer(1), 0x1_0000, 0x2_0000, 0x3_0000);
    image.put_word(thread - 24, state);
    image.put_word(thread + 8, vector);
    image.put_word(block + 24, state);
    let ask = |image: &Image, entry: u32, module: u32, at: u64| {
        let process = Process {
            thread_local: at,
            thread_local_module: module,
            thread_local_entry: entry,
            ..process(RUNTIME)
        };
        match attached_place(image, &process, thread)? {
            0 => Some(0),
            place => image.read_u64(place),
        }
    };
    let before = 24_u64.wrapping_neg();
    assert_eq!(ask(&image, thread_local::UNKNOWN, 0, before), None);
    assert_eq!(ask(&image, thread_local::AT_OFFSET, 0, before), Some(state));
    assert_eq!(ask(&image, thread_local::AT_OFFSET, 0, 1 << 40), None);
    for (entry, length) in [
        (thread_local::IN_BLOCK_OF_16, vector - 16),
        (thread_local::IN_BLOCK_OF_8, vector),
    ] {
        image.put_word(length, 3);
        image.put_word(vector + u64::from(entry) * 2, block);
        assert_eq!(ask(&image, entry, 2, 24), Some(state));
        for absent in [0, u64::MAX] {
            image.put_word(vector + u64::from(entry) * 3, absent);
            assert_eq!(ask(&image, entry, 3, 24), Some(0));
        }
        // Behind its end a vector may hold anything.
        image.put_word(vector + u64::from(entry) * 4, block);
        assert_eq!(ask(&image, entry, 4, 24), Some(0));
    }
}

/// Pages between the stack pointer and a C frame: all resident, one missing, too many.
#[test]
fn pages_between() {
    const PAGE: u64 = 4096;
    let is_whole = |present: std::ops::Range<u64>, frame: u64| {
        let mut image = Image::default();
        for page in present {
            image.put_word(above(1, page * PAGE), 1);
        }
        let mut pages = StackPages {
            is_whole: 1,
            ..StackPages::default()
        };
        pages.start(&position(1), above(1, frame));
        for _ in 0..MAX_PAGE_STEPS {
            if !pages.step(&image) {
                break;
            }
        }
        pages.is_whole != 0
    };
    assert!(is_whole(0..0, 0x800));
    assert!(is_whole(1..10, 9 * PAGE + 8));
    assert!(!is_whole(1..9, 9 * PAGE));
    assert!(!is_whole(2..10, 9 * PAGE));
    assert!(is_whole(1..256, 255 * PAGE));
    assert!(!is_whole(1..400, 300 * PAGE));
}

/// A deep stack is followed to its C frame.
#[test]
fn deep_stacks_are_followed() {
    for layout in layouts() {
        if layout.thread_cframe != 0 || !has_c_frames(&layout) {
            continue;
        }
        let mut interpreters = Interpreters::new(layout);
        let state = interpreters.add(&[1])[0];
        let image = &mut interpreters.image;
        let mut next = above(1, 0x800);
        for depth in 0..10_000 {
            let frame = 0x5000_0000_0000 + depth * 96;
            image.put(frame + u64::from(layout.frame_owner), &[0]);
            image.put_word(frame + u64::from(layout.frame_previous), next);
            next = frame;
        }
        image.put_word(state + u64::from(layout.thread_frame), next);
        assert_eq!(interpreters.search(1), Ok(state));
    }
}

/// The scan finds a frame's address on the part of the stack that is in use, as far as it reads, and nowhere else.
#[test]
fn a_frame_is_found_on_the_stack() {
    let wanted = 0x5500_0000_1230;
    let is_found = |at: u64| {
        let mut image = Image::default();
        image.put(above(1, 0) - 0x1000, &vec![0; 0x1_1000]);
        image.put_word(at, wanted);
        let mut scan = StackScan {
            is_found: 1,
            ..StackScan::default()
        };
        let mut block = Block::zeroed();
        scan.start(&position(1), wanted);
        for _ in 0..MAX_SCAN_STEPS {
            if !scan.step(&image, &mut block) {
                break;
            }
        }
        scan.is_found != 0
    };
    for bytes in [0, 8, 0x100, 0x1000, 0x3ff8] {
        assert!(is_found(above(1, bytes)), "{bytes:#x}");
    }
    assert!(!is_found(above(1, 0) - 8));
    assert!(!is_found(above(1, 0x4000)));
    assert!(!is_found(above(1, 4)));
}

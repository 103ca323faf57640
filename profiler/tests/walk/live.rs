//! The walk of running interpreters, compared with what they report themselves.

use std::path::Path;

use profiler_common::{
    event::PythonFrame,
    limits::MAX_PYTHON_FRAMES,
    outcome::Outcome,
    walk::{Position, has_c_frames},
};

use crate::{
    frame_of,
    process::{Running, interpreters},
    search, walk,
};

/// Frames, leaf first: names and offsets of instructions.
type Stack = Vec<(String, i32)>;

/// A thread's stack as the kernel program would take it: the thread waits, and has detached its state.
fn sample(running: &Running, thread_pointer: u64) -> (Outcome, Vec<PythonFrame>) {
    let Running { layout, placed, .. } = running;
    // Its position is not known from outside, so all of its stack counts; the first thread's stack is elsewhere.
    let stack_ends = [thread_pointer, running.first_stack()];
    let mut ended = (Outcome::NoThreadState, vec![]);
    for end in stack_ends {
        let position = Position {
            thread_pointer,
            instruction: 0,
            stack: end - (8 << 20),
            stack_end: end,
        };
        ended = match search(running, layout, placed.runtime, &position, false) {
            Ok(state) => {
                let frame = frame_of(running, layout, state).unwrap();
                return walk(running, layout, placed.code_type, frame);
            }
            Err(outcome) => (outcome, vec![]),
        };
    }
    ended
}

fn named(running: &Running, frames: &[PythonFrame]) -> Stack {
    frames
        .iter()
        // Python hides the frame that 3.13 pushes between a class's `__init__` and the call of the
        // class once that is specialised (`_Py_InitCleanup` in CPython's `Python/specialize.c`);
        // its file is `__init__`, too.
        .filter(|frame| running.file(frame.code) != "__init__")
        .map(|frame| (running.name(frame.code), frame.instruction))
        .collect()
}

/// Each interpreter, with the stacks that its threads report.
fn on_every_interpreter(test: impl Fn(&Running, &Path, Vec<(String, u64, Stack)>)) {
    for python in interpreters() {
        let (mut running, mut line) = Running::start(&python, include_str!("stacks.py"));
        let mut threads = Vec::new();
        while !line.trim().is_empty() {
            threads.push(serde_json::from_str(&line).unwrap());
            line = running.line();
        }
        // 15 scenarios, each fresh and repeated, and the main thread.
        assert_eq!(threads.len(), 31, "{}", python.display());
        test(&running, &python, threads);
    }
}

/// Every thread is found by its thread pointer, and its frames are those that it reports, to the instruction. A stack
/// deeper than the budget keeps exactly the innermost frames.
#[test]
fn stacks_are_what_the_threads_say() {
    on_every_interpreter(|running, python, threads| {
        for (thread, pointer, mut expected) in threads {
            let (outcome, frames) = sample(running, pointer);
            let is_deep = expected.len() > MAX_PYTHON_FRAMES;
            assert_eq!(is_deep, thread.ends_with("deep_recursion"));
            let expected_outcome = if is_deep {
                assert_eq!(frames.len(), MAX_PYTHON_FRAMES);
                expected.truncate(MAX_PYTHON_FRAMES);
                Outcome::Truncated
            } else {
                Outcome::Complete
            };
            let told = (outcome, named(running, &frames));
            let expected = (expected_outcome, expected);
            assert_eq!(told, expected, "{thread} on {}", python.display());
        }
    });
}

/// A thread pointer that no thread has belongs to no state.
#[test]
fn a_foreign_thread_has_no_state() {
    on_every_interpreter(|running, _, threads| {
        let (_, pointer, _) = &threads[0];
        let told = sample(running, pointer + 8);
        assert_eq!(told, (Outcome::NoThreadState, vec![]));
    });
}

/// Makes a sub-interpreter, whose code is in `inner`, and continues with what follows.
const SUB_INTERPRETER: &str = "
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
inner = 'import _thread, sys; print(_thread.get_ident(), flush=True); sys.stdin.read()'
made = interpreters.create()
";

/// Runs a script on each interpreter until it has printed its thread; returns the names of its frames then.
fn names_on_every_interpreter(script: &str, expected: &[&str]) {
    for python in interpreters() {
        let (running, line) = Running::start(&python, script);
        let (outcome, frames) = sample(&running, line.trim().parse().unwrap());
        let names: Vec<String> = frames.iter().map(|it| running.name(it.code)).collect();
        if names.is_empty() && !has_c_frames(&running.layout) {
            // Before 3.10 two states of one thread cannot be told apart.
            assert_eq!(outcome, Outcome::StateUnknown, "{}", python.display());
            continue;
        }
        assert_eq!(outcome, Outcome::Complete, "{}", python.display());
        assert_eq!(names, expected, "{}", python.display());
    }
}

/// A thread that runs code of a sub-interpreter is found there, even if it has a state in the main interpreter, too.
#[test]
fn code_of_a_sub_interpreter_is_walked() {
    let script = format!("{SUB_INTERPRETER}interpreters.run_string(made, inner)");
    names_on_every_interpreter(&script, &["<module>"]);
}

/// A sub-interpreter that runs nothing does not hide what the thread that made it runs.
#[test]
fn an_idle_sub_interpreter_hides_nothing() {
    let script = format!("{SUB_INTERPRETER}def outer():\n    exec(inner)\nouter()");
    names_on_every_interpreter(&script, &["<module>", "outer", "<module>"]);
}

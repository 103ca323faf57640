//! Whether a place holds what it should, by what is known of some threads.

use profiler_common::{python::PythonLayout, walk::ReadUser};

use super::{Place, read_at};

/// States looked at.
const MAX_STATES: usize = 256;

/// Whether the place holds nothing or a thread state in each thread that has made one. The thread that made a state is
/// known by its thread pointer, and a state by its interpreter, one of `interpreters`, since states come and go meanwhile.
pub fn fits<R: ReadUser>(
    reader: &R,
    layout: &PythonLayout,
    interpreters: &[u64],
    place: Place,
) -> bool {
    let word = |base: u64, offset: u32| reader.read_u64(base.wrapping_add(u64::from(offset)));
    let is_state = |address: u64| {
        word(address, u32::from(layout.thread_interpreter))
            .is_some_and(|interpreter| interpreters.contains(&interpreter))
    };
    let states = interpreters.iter().flat_map(|&interpreter| {
        let first = word(interpreter, layout.interpreter_threads);
        let next = |&state: &u64| word(state, u32::from(layout.thread_next)).filter(|&it| it != 0);
        std::iter::successors(first.filter(|&it| it != 0), next)
    });
    states
        .take(MAX_STATES)
        .filter_map(|state| word(state, u32::from(layout.thread_id)))
        .filter_map(|maker| read_at(reader, place, maker))
        .all(|held| held == 0 || is_state(held))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{Place, fits};
    use crate::targets::python::{
        flavour::Flavour, layout::validate, tables, thread_local::words::Words,
    };

    /// Two threads: nothing, a state of the process, and what is gone fit; anything else does not.
    #[test]
    fn known_threads_tell() {
        let layout = validate(tables::offsets(12, Flavour::default()).unwrap()).unwrap();
        let (interpreter, states, threads) =
            (0x1000, [0x10_0000, 0x20_0000], [0x7f_0000, 0x7e_0000]);
        let holding = |held: [Option<u64>; 2]| {
            let mut words = HashMap::from([
                (
                    interpreter + u64::from(layout.interpreter_threads),
                    states[0],
                ),
                (states[0] + u64::from(layout.thread_next), states[1]),
                (states[1] + u64::from(layout.thread_next), 0),
            ]);
            for ((state, thread), held) in states.into_iter().zip(threads).zip(held) {
                words.insert(state + u64::from(layout.thread_id), thread);
                words.insert(state + u64::from(layout.thread_interpreter), interpreter);
                words.extend(held.map(|held| (thread - 24, held)));
            }
            fits(&Words(words), &layout, &[interpreter], Place::Offset(-24))
        };
        assert!(holding([Some(states[0]), Some(0)]));
        // One may run in what another has made.
        assert!(holding([Some(states[1]), None]));
        assert!(holding([None, None]));
        assert!(!holding([Some(0), Some(0x30_0000)]));
        // That of another interpreter would be wrong.
        assert!(!holding([Some(0x7f_0000), None]));
        assert!(!holding([Some(interpreter), Some(states[1])]));
    }
}

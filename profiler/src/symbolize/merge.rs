//! Which native frames are trusted if there are Python frames too.
//!
//! CPython is mostly built without frame pointers: the frame-pointer chain from inside it skips frames or ends
//! anywhere. So only certain frames are shown: the interrupted function, and above it frames of other files up to the
//! first one of the interpreter's.

use std::ops::Range;

/// What an address belongs to, as far as the rule needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The interpreter's bytecode loop: the Python frame shows it better.
    EvaluationLoop,
    /// Other code of the interpreter's file: a C function of CPython.
    Interpreter,
    /// Any other code.
    Elsewhere,
}

/// Which native frames to show, as a range from the leaf, and whether others were hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// Indices into the native frames.
    pub(super) range: Range<usize>,
    /// Whether the chain was not certain, and only the leaf is shown.
    pub(super) hidden: bool,
}

/// Decides for a stack with Python frames; `places` are those of its native frames, leaf first.
pub(super) fn shown(places: &[Place]) -> Shown {
    let certain = |end| Shown {
        range: 0..end,
        hidden: false,
    };
    match places.first() {
        None | Some(Place::EvaluationLoop) => certain(0),
        Some(Place::Interpreter) => certain(1),
        Some(Place::Elsewhere) => {
            match places.iter().position(|&place| place != Place::Elsewhere) {
                Some(end) => certain(end),
                None => Shown {
                    range: 0..1,
                    hidden: places.len() > 1,
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Place::{Elsewhere, EvaluationLoop, Interpreter},
        Shown, shown,
    };

    /// If the leaf is in the bytecode loop, no native frame is shown; if it is in CPython's C code, that one function.
    #[test]
    fn frames_inside_the_interpreter() {
        assert_eq!(
            shown(&[]),
            Shown {
                range: 0..0,
                hidden: false
            }
        );
        assert_eq!(
            shown(&[EvaluationLoop, Elsewhere]),
            Shown {
                range: 0..0,
                hidden: false
            }
        );
        assert_eq!(
            shown(&[Interpreter, Elsewhere]),
            Shown {
                range: 0..1,
                hidden: false
            }
        );
    }

    /// A library's frames are shown up to the interpreter; if the chain never meets it, only the leaf is certain.
    #[test]
    fn frames_outside_the_interpreter() {
        let met = shown(&[Elsewhere, Elsewhere, EvaluationLoop, Elsewhere]);
        assert_eq!(
            met,
            Shown {
                range: 0..2,
                hidden: false
            }
        );
        assert_eq!(
            shown(&[Elsewhere, Elsewhere]),
            Shown {
                range: 0..1,
                hidden: true
            }
        );
        assert_eq!(
            shown(&[Elsewhere]),
            Shown {
                range: 0..1,
                hidden: false
            }
        );
    }
}

//! A walk need not read code objects that it knows, and an unproven one must have the type of a code object.

use profiler_common::{
    event::PythonFrame,
    outcome::Outcome,
    walk::{Codes, Known, PythonWalk, Trust, step},
};

use crate::{
    frames::{CODE_TYPE, Code, Frame, Place, lay_out},
    image::Image,
    layouts,
};

/// Says the same of every code object, and trusts each to the same degree.
struct Always {
    known: Known,
    trust: Trust,
    put: Vec<(PythonFrame, Known)>,
}

impl Codes for Always {
    type Place = ();

    fn place(&self, _index: u32) {}

    fn known(&self, _index: u32, (): (), _code: u64, _above: &PythonFrame) -> Known {
        self.known
    }

    fn put(&mut self, index: u32, (): (), frame: PythonFrame, known: Known) -> Trust {
        assert_eq!(index as usize, self.put.len());
        self.put.push((frame, known));
        self.trust
    }
}

/// The outcome of the walk of one frame with such a code object, and what was put.
fn walk(code: Code, known: Known, trust: Trust) -> Vec<(Outcome, Vec<(PythonFrame, Known)>)> {
    let frame = Frame {
        place: Place::Apart(0),
        code,
        instruction: 3,
        is_trampoline: false,
    };
    let each = layouts().into_iter().map(|layout| {
        let mut image = Image::default();
        let addresses = lay_out(&mut image, &layout, &[frame]);
        let mut walk = PythonWalk::from_frame(addresses[0]);
        let put = Vec::new();
        let mut codes = Always { known, trust, put };
        while step(&image, &layout, CODE_TYPE, &mut walk, &mut codes) {}
        (Outcome::from_number(walk.outcome).unwrap(), codes.put)
    });
    each.collect()
}

/// It has the known checksum, although its memory is gone.
#[test]
fn what_is_known_is_not_read() {
    for known in [Known::Same(7), Known::Sent(7)] {
        for (outcome, put) in walk(Code::Unreadable, known, Trust::Proven) {
            assert_eq!(outcome, Outcome::Complete);
            assert_eq!((put[0].0.checksum, put[0].1), (7, known));
        }
    }
    for (outcome, put) in walk(Code::Unreadable, Known::Nothing, Trust::Proven) {
        assert_eq!((outcome, put.len()), (Outcome::Unreadable, 0));
    }
}

/// Only a proven code object needs no type check.
#[test]
fn what_is_unproven_says_what_it_is() {
    for known in [Known::Nothing, Known::Same(7)] {
        for (outcome, _) in walk(Code::OfAnotherType, known, Trust::Unproven) {
            assert_eq!(outcome, Outcome::NotCode);
        }
        for (outcome, _) in walk(Code::OfAnotherType, known, Trust::Proven) {
            assert_eq!(outcome, Outcome::Complete);
        }
        for (outcome, _) in walk(Code::Sound(0), known, Trust::Unproven) {
            assert_eq!(outcome, Outcome::Complete);
        }
    }
}

//! Programs that embed CPython and hand its thread states about (`tests/programs/embedding`), and the judge of
//! what was sampled in them.

mod build;
mod interpreter;
mod judge;
mod record;

pub use self::{
    build::Host,
    interpreter::Linked,
    judge::{Tally, Verdict, judge},
    record::{Kind, Record, Stretch},
};

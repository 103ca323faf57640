//! Wires the rooms: owns threads, queues and the order of starting and stopping. The only room that
//! knows all others.
//!
//! *data* ([`data`]) drains the ring and runs the pipeline; it never waits for anything but the ring, and reads no
//! file. *control* ([`control`]) runs the targets; the procfs is read there. *looker* reads the memory of
//! processes, and *errands* their files and command lines: a process could make those reads wait without end.
//! *symbols* reads the symbols of files.

mod armed;
mod control;
mod data;
mod session;
mod settings;
mod shared;
mod workers;

pub use self::{
    armed::{Armed, arm},
    session::Session,
    settings::{Finished, OnWindow, SessionSettings},
};

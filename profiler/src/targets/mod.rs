//! The control plane: which processes are profiled, what they are, what the kernel must know.
//!
//! In: the procfs, process notices, the hook's resource. Out: the kernel's maps (through
//! [`crate::kernel::Control`]) and read-only [`Snapshot`]s for the data plane.
//! Must not know samples, profiles or servers.

pub mod elf;
pub mod errands;
pub mod facilities;
pub mod facility;
pub mod hook;
mod inspect;
pub mod look;
pub mod mappings;
pub mod opentelemetry;
pub mod owner;
pub mod procfs;
mod program;
pub mod pyroscope_sdk;
pub mod python;
pub mod registry;
pub mod report;
mod snapshot;
pub mod symbols;
mod target;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod toy;
pub mod why;
pub mod workers;

pub use self::{
    inspect::{Refusal, inspect, survey},
    program::Program,
    registry::{Scope, Search, Targets},
    report::Report,
    snapshot::Snapshot,
    target::{FileId, Interpreter, Mapping, SpansSeen, Target, UnreadClass},
};

//! How to read the current span of a process out of its interpreter's context.
//!
//! In: an interpreter's facts, and the memory of a process that runs it. Out: a
//! [`SpanRecipe`](profiler_common::context::SpanRecipe). A process is looked at once, and again when
//! it has imported modules or when its recipe no longer fits; on a thread of its own, because a hostile
//! process can make a read of its memory block. Must not know samples or the kernel's maps.

mod facility;
mod kin;
pub mod look;
pub mod objects;
pub mod offsets;
pub mod others;
pub mod recipe;
pub mod tables;
pub mod wanted;

pub use self::facility::{Context, ContextFacility};

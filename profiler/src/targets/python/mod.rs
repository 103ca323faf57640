//! What a CPython is: which files hold one, where it keeps its state, where it lies in a process.
//!
//! In: files of targets, read with `pread`. Out: layouts and addresses for the walker.
//! Must not know processes beyond a load bias, nor the kernel.

mod alone;
pub mod debug_offsets;
pub mod detect;
mod facility;
pub mod flavour;
pub mod global;
pub mod globals;
mod implementation;
pub mod interpreters;
pub mod layout;
#[cfg(test)]
pub(crate) mod live;
pub mod look;
pub mod objects;
pub mod offsets;
pub mod place;
mod process;
pub mod published;
pub mod tables;
pub mod thread_local;
pub mod unpublished;
pub mod version;

pub use self::{facility::PythonFacility, process::Python};

//! What the launcher and `xtask` share: pins, toolchains, what a machine has.
//!
//! No dependencies, and nothing newer than Rust 1.85: whatever stable a machine has compiles it.

#![allow(
    clippy::print_stderr,
    reason = "a command line tool tells what it is doing on stderr"
)]

pub mod cache;
pub mod clean;
pub mod command;
pub mod interpreter;
mod network;
pub mod pins;
pub mod preflight;
mod skip;
pub mod toolchain;

pub use skip::{MARK as SKIPPED, skip};

/// What a step that cannot be done says: one line that names the cause and what to do.
pub type Result<T> = std::result::Result<T, String>;

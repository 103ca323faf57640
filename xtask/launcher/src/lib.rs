//! Code that the launcher and `xtask` share: pins, toolchains, questions about the machine.
//!
//! It has no dependencies and needs only Rust 1.85, so that any later stable toolchain compiles it.

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

/// The error of a step: one line that names the cause and what to do.
pub type Result<T> = std::result::Result<T, String>;

//! The border between the kernel programs and the agent.
//!
//! Compiled twice, for the BPF target and for the host: nothing here may allocate, panic or know
//! an operating system. The kernel programs and the agent depend on this crate; it depends on neither.
#![no_std]

pub mod arch;
pub mod code;
pub mod config;
pub mod context;
pub mod counter;
pub mod event;
pub mod limits;
pub mod outcome;
pub mod python;
pub mod span;
pub mod walk;
mod wire;

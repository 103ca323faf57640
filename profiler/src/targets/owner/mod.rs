//! The owner of a process's CPU: its service, as the hook, its tracer provider, its
//! environment or its command names it, and its container.

pub mod command;
pub mod container;
mod facility;
pub mod interpreter;
pub mod look;
pub mod provider;
pub mod service;
pub mod start;
pub mod started;

pub use self::facility::{Owner, OwnerFacility};

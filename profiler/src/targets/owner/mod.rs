//! The owner of a process's CPU: its service, as the hook or the procfs names it, and its container.

pub mod container;
mod facility;
pub mod service;

pub use self::facility::OwnerFacility;

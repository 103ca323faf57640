//! Who owns a process's CPU: its service, by the hook or by the procfs, and its container.

pub mod container;
mod facility;
pub mod service;

pub use self::facility::OwnerFacility;

//! Why the kernel side cannot be set up, and errors in one line.

use std::error::Error;

use aya::{programs::ProgramError, sys::BpfHelper};

use super::btf::BtfError;
use crate::rights::{Finding, told};

/// The kernel side cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel's types are not known.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// The process may not do what it must.
    #[error("spanprof may not profile here: {}", told(.0))]
    NotPermitted(Vec<Finding>),
    /// The kernel does not say what its programs can call.
    #[error("failed to ask the kernel whether it has the helper {helper:?}")]
    Helper {
        /// The helper.
        helper: BpfHelper,
        /// What it said instead.
        #[source]
        error: ProgramError,
    },
    /// The object was refused.
    #[error("cannot load the kernel programs")]
    Object(#[source] aya::EbpfError),
    /// One program was refused; the source has the verifier's words.
    #[error("the kernel refused the program `{program}`")]
    Program {
        /// Its name.
        program: &'static str,
        /// Why.
        #[source]
        error: ProgramError,
    },
    /// The object lacks a map or program: the build is broken.
    #[error("the kernel programs lack `{0}`: the build is broken")]
    Missing(&'static str),
    /// The agent could not wait for the ring.
    #[error("failed to wait for the ring buffer: {0}")]
    Ring(std::io::Error),
    /// The ring cannot be set up.
    #[error("cannot set up the map `{map}`")]
    Map {
        /// The map.
        map: &'static str,
        /// Why.
        #[source]
        error: aya::maps::MapError,
    },
    /// The CPUs are not known.
    #[error("cannot list the CPUs that are online: {0}")]
    Cpus(std::io::Error),
}

/// An error and its causes in one line.
pub(super) fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

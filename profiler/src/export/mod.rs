//! [`Profile`](crate::profile::Profile)s → files and servers.
//!
//! In: finished profiles. Out: bytes that leave the process. Must not know samples, spans or targets.

pub mod file;
mod flame_graph;
pub mod proto;
pub mod pyroscope;
mod queue;
pub mod retry;
mod worker;

use std::{io, path::PathBuf};

pub use file::Format;
pub use pyroscope::{BasicAuth, Pyroscope};
pub use worker::{Exporter, Settings};

/// Why a profile could not leave.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file name's ending says nothing of its format.
    #[error("cannot tell the format of {path}: end it in .pb.gz (pprof), .folded or .svg")]
    UnknownSuffix {
        /// The path given.
        path: PathBuf,
    },
    /// The folder is missing or not writable, or the disk is full.
    #[error("cannot write {path}")]
    Write {
        /// The path given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The flame graph could not be drawn.
    #[error("cannot draw the flame graph {path}")]
    FlameGraph {
        /// The path given.
        path: PathBuf,
        /// What the drawing said.
        source: io::Error,
    },
    /// The server's address is not one.
    #[error("{url} is not the address of a Pyroscope server: write http://host:4040 or https://…")]
    Url {
        /// The address given.
        url: String,
    },
    /// The server's address names a user, and perhaps a password, which is not shown.
    #[error(
        "a server's address must not name a user: give --basic-auth-user and --basic-auth-password-file"
    )]
    UrlWithUser,
    /// A tag the server would refuse.
    #[error("tag {name}: {reason}")]
    Tag {
        /// Its key.
        name: String,
        /// Why it would be refused.
        reason: &'static str,
    },
    /// The exporter's thread could not be started.
    #[error("cannot start the thread that sends profiles")]
    Thread(#[source] io::Error),
}

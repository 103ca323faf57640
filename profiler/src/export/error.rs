//! Why a profile could not leave, or an exporter not start.

use std::{io, path::PathBuf};

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
    /// The server's address is not valid.
    #[error(
        "{url:?} is not the address of a Pyroscope server: {reason}; write http://host:4040 or https://…"
    )]
    Url {
        /// The address given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The server's address names a user, and perhaps a password, which is not shown.
    #[error(
        "a server's address must not name a user: give --basic-auth-user and --basic-auth-password-file"
    )]
    UrlWithUser,
    /// A tenant the server would refuse.
    #[error("--tenant-id {tenant:?} names no tenant: {reason}")]
    Tenant {
        /// The tenant given.
        tenant: String,
        /// Why it would be refused.
        reason: String,
    },
    /// A tag the server would refuse.
    #[error("--tag {name:?}: {reason}")]
    Tag {
        /// Its key.
        name: String,
        /// Why it would be refused.
        reason: String,
    },
    /// A name of the host the server would refuse.
    #[error("--host-name: {reason}; --host-name-label off leaves the label out")]
    HostName {
        /// Why it would be refused.
        reason: String,
    },
    /// A file with a secret or a certificate cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The path given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that should hold a password or a token is empty.
    #[error("{path}: there is nothing in it: a password or token is expected")]
    NoSecret {
        /// The path given.
        path: PathBuf,
    },
    /// A file has no certificate or no key in it, or one that does not fit.
    #[error("{path}: {reason}")]
    Certificate {
        /// The path given.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A variable of the environment names a proxy, but its value is no address.
    #[error(
        "{variable} is not the address of a proxy: write http://host:3128, https://… or socks5h://…"
    )]
    Proxy {
        /// The variable's name; its value may hold a password.
        variable: &'static str,
    },
    /// A text that HTTP cannot carry in a header field.
    #[error("{what} has characters that HTTP cannot carry")]
    Header {
        /// Where the text is from.
        what: &'static str,
    },
    /// The HTTP client could not be made.
    #[error("cannot prepare for pushing: {0}")]
    Client(String),
    /// The exporter's thread could not be started.
    #[error("cannot start the thread that encodes profiles")]
    Thread(#[source] io::Error),
}

//! [`Profile`](crate::profile::Profile)s → files and servers.
//!
//! In: windows of profiles. Out: bytes that leave the process. Every [`Destination`] reads the same window, and
//! projects, splits and encodes it in its own way: a [file](FileSink), or a server ([`pyroscope`]). Must not know
//! samples, spans or targets.

mod destination;
mod error;
mod exporter;
mod file;
mod flame_graph;
mod pace;
pub mod pyroscope;
pub mod retry;
pub mod transport;

pub use destination::{Destination, Ending, Shared, Waiting};
pub use error::Error;
pub use exporter::{Exporter, Sink};
pub use file::{FileSink, Format};
pub use pace::Limits as PaceLimits;
pub use transport::{Credentials, Tls};

/// A length as what is counted.
fn as_count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

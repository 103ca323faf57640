//! [`Profile`](crate::profile::Profile)s → files and servers.
//!
//! In: finished profiles. Out: bytes that leave the process. Must not know samples, spans or targets.
//!
//! ```text
//!  windows ──▶ encode (a thread) ──Encoded──▶ worker (a task) ──▶ queue, pace: what goes when
//!                                                  │
//!                                                  └─▶ pyroscope ──▶ transport ──▶ the server
//!                                                         ▲                           │
//!                                                         └──── retry: what it means ◀┘
//! ```

mod backlog;
mod encode;
mod error;
mod exporter;
mod file;
mod flame_graph;
mod pace;
pub mod proto;
pub mod pyroscope;
mod queue;
pub mod retry;
pub mod series;
pub mod transport;
mod worker;

pub use error::Error;
pub use exporter::{Exporter, Settings, Sink};
pub use file::{FileSink, Format};
pub use pace::Limits as PaceLimits;
pub use pyroscope::Pyroscope;
pub use series::SeriesLabels;
pub use transport::{Credentials, Tls};

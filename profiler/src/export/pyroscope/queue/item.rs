//! A profile that waits, and when its turn is.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{export::pyroscope::proto::LabelPair, id::Service, time::BootNanos};

/// Age up to which a window goes before those that have waited longer.
const LIVE: Duration = Duration::from_secs(60);
/// Bytes that an item takes beside its profile and its labels, roughly.
pub(super) const OVERHEAD: usize = 256;
/// Bytes that a label takes beside its text, roughly: two texts' heads, and what an allocation costs.
const OF_LABEL: usize = 64;

/// A profile, encoded: what a server is to store.
#[derive(Clone, Debug)]
pub(in crate::export::pyroscope) struct Encoded {
    /// The service that it is of.
    pub(in crate::export::pyroscope) service: Arc<Service>,
    /// The series it belongs to.
    pub(in crate::export::pyroscope) labels: Arc<[LabelPair]>,
    /// A UUID: the server's errors name the profile by it.
    pub(in crate::export::pyroscope) id: String,
    /// A gzipped pprof message.
    pub(in crate::export::pyroscope) pprof: Bytes,
    /// Bytes that the server charges for it: the message before compression, and the labels.
    pub(in crate::export::pyroscope) charged: usize,
    /// When its window began: the server judges its age by that. On a clock that cannot be set.
    pub(in crate::export::pyroscope) began: BootNanos,
}

/// Something that waits.
#[derive(Clone, Debug)]
pub(in crate::export::pyroscope) struct Item {
    pub(in crate::export::pyroscope) encoded: Encoded,
    /// Failures so far that may be this profile's own.
    pub(in crate::export::pyroscope) attempts: u32,
    /// How many profiles may be in one request with it, itself included.
    pub(in crate::export::pyroscope) company: usize,
    /// Whether it, or an earlier one of its service, has failed alone.
    pub(in crate::export::pyroscope) is_suspect: bool,
    /// When it may be sent again.
    pub(in crate::export::pyroscope) ready: BootNanos,
}

impl Item {
    pub(super) fn bytes(&self) -> usize {
        let labels = self.encoded.labels.iter();
        let labels: usize = labels
            .map(|label| label.name.len() + label.value.len() + OF_LABEL)
            .sum();
        self.encoded.pprof.len() + labels + OVERHEAD
    }

    /// Whether profiles that come in now go before it.
    pub(super) fn is_backlog(&self, now: BootNanos) -> bool {
        self.attempts > 0 || now.since(self.encoded.began) >= LIVE
    }

    pub(super) fn turn(&self, now: BootNanos) -> Turn {
        if self.is_suspect {
            Turn::Alone
        } else if self.is_backlog(now) {
            Turn::Backlog
        } else {
            Turn::Live
        }
    }
}

/// The class of an item, which decides when it goes: earlier variants go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has just come in.
    Live,
    /// It has waited or failed.
    Backlog,
    /// Suspects: each takes a separate request, which may well fail. However many they are, they hold up no other
    /// profile.
    Alone,
}

/// Profiles that may go with a new one, itself included.
pub(super) fn company(is_suspect: bool) -> usize {
    if is_suspect { 1 } else { usize::MAX }
}

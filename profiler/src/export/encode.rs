//! Profiles → what a server is to store: split, encoded, compressed. The costly part of an export, on a
//! thread of its own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::Duration,
};

use tokio::sync::mpsc::{Sender, error::SendError};

use super::{
    Settings, file,
    proto::LabelPair,
    queue::Encoded,
    worker::{as_count, dropped},
};
use crate::{
    health::{Gauge, Health, Loss},
    profile::{Profile, Projected, split::split},
    time::BootNanos,
};

/// How often it is looked whether anybody takes what is encoded: who has a [`Sink`](super::Sink) may keep it
/// for longer.
const LOOK: Duration = Duration::from_secs(1);

/// Encodes profiles.
pub(super) struct Encoder {
    pub(super) settings: Arc<Settings>,
    pub(super) health: Health,
    /// Profiles that are not yet stored or lost.
    pub(super) waiting: Arc<AtomicUsize>,
}

impl Encoder {
    /// Encodes windows as they come, until nobody submits any more. What is encoded goes on in portions of a
    /// request each, and what is left of a window at its end.
    pub(super) fn run(&self, windows: &Receiver<Vec<Profile>>, outgoing: &Sender<Vec<Encoded>>) {
        loop {
            let profiles = match windows.recv_timeout(LOOK) {
                Ok(profiles) => profiles,
                Err(RecvTimeoutError::Timeout) if !outgoing.is_closed() => continue,
                Err(_) => return,
            };
            let now = BootNanos::now();
            let (mut portion, mut charged) = (Vec::new(), 0);
            for profile in profiles {
                if outgoing.is_closed() {
                    self.waiting.fetch_sub(1, Ordering::Relaxed);
                    self.health.count(Loss::EncoderBehind);
                    dropped(&profile.service, "the agent ends");
                    continue;
                }
                let parts = self.encode(&profile, now);
                self.waiting.fetch_add(parts.len(), Ordering::Relaxed);
                self.health.raise(Gauge::ProfilesWaiting, parts.len());
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                charged += parts.iter().map(|part| part.charged).sum::<usize>();
                portion.extend(parts);
                if charged >= self.settings.pace.request_bytes {
                    self.hand_over(std::mem::take(&mut portion), outgoing);
                    charged = 0;
                }
            }
            self.hand_over(portion, outgoing);
        }
    }

    fn hand_over(&self, portion: Vec<Encoded>, outgoing: &Sender<Vec<Encoded>>) {
        if portion.is_empty() {
            return;
        }
        if let Err(SendError(portion)) = outgoing.blocking_send(portion) {
            for part in portion {
                self.waiting.fetch_sub(1, Ordering::Relaxed);
                self.health.lower(Gauge::ProfilesWaiting, 1);
                self.health.count(Loss::ProfileLeft);
                dropped(&part.service, "the agent ends");
            }
        }
    }

    /// The profile as a series for each kind of measure, each in as many parts as the server's limits ask
    /// for; `now` is when its window has ended.
    fn encode(&self, profile: &Profile, now: BootNanos) -> Vec<Encoded> {
        let projected = self.settings.projection.of(profile);
        let projected = projected.iter();
        projected
            .flat_map(|projected| self.encode_kind(projected, now))
            .collect()
    }

    fn encode_kind(&self, profile: &Projected, now: BootNanos) -> Vec<Encoded> {
        let series = &self.settings.server.series;
        let labels: Arc<[LabelPair]> = series.of(&profile.service, profile.kind).into();
        let of_labels: usize = labels
            .iter()
            .map(|label| label.name.len() + label.value.len())
            .sum();
        let began = now.before(Duration::from_nanos(profile.window.duration_nanos));
        let parts = split(profile, self.settings.limits, &self.health);
        self.health.add(Loss::ProfileEncoded, as_count(parts.len()));
        let parts = parts.into_iter().filter_map(|part| {
            let pprof = file::gzip(&part);
            // Compressing into memory does not fail; if it ever does, it is counted like a refusal.
            let pprof = pprof.inspect_err(|error| {
                tracing::error!(%error, service = profile.service.name, "a profile could not be compressed");
                self.health.count(Loss::ProfileUncompressed);
            });
            let mut pprof = pprof.ok()?;
            // It may wait for long, and its length is what the queue counts.
            pprof.shrink_to_fit();
            Some(Encoded {
                service: Arc::clone(&profile.service),
                labels: Arc::clone(&labels),
                id: uuid::Uuid::new_v4().to_string(),
                pprof: pprof.into(),
                charged: part.len() + of_labels,
                began,
            })
        });
        parts.collect()
    }
}

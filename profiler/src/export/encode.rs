//! Profiles → what a server is to store: split, encoded, compressed. The costly part of an export, on a
//! thread of its own.

use std::sync::Arc;

use super::{Settings, file, proto::LabelPair, queue::Encoded};
use crate::{
    health::{Health, Loss},
    profile::{Profile, split::split},
    time::BootNanos,
};

/// Encodes profiles.
pub(super) struct Encoder {
    pub(super) settings: Arc<Settings>,
    pub(super) health: Health,
}

impl Encoder {
    /// The profile in as many parts as the server's limits ask for; `now` is when its window has ended.
    pub(super) fn encode(&self, profile: &Profile, now: BootNanos) -> Vec<Encoded> {
        let labels: Arc<[LabelPair]> = self.settings.server.series.of(&profile.service).into();
        let of_labels: usize = labels
            .iter()
            .map(|label| label.name.len() + label.value.len())
            .sum();
        let began = BootNanos(now.0.saturating_sub(profile.window.duration_nanos));
        let parts = split(profile, self.settings.limits, &self.health);
        self.health.add(Loss::ProfileEncoded, number(parts.len()));
        let parts = parts.into_iter().filter_map(|part| {
            let pprof = file::gzip(&part);
            // Compressing into memory does not fail; if it ever does, it is counted like a refusal.
            let pprof = pprof.inspect_err(|error| {
                tracing::error!(%error, service = profile.service.name, "a profile could not be compressed");
                self.health.count(Loss::ProfileRefused);
            });
            Some(Encoded {
                service: Arc::clone(&profile.service),
                labels: Arc::clone(&labels),
                id: uuid::Uuid::new_v4().to_string(),
                pprof: pprof.ok()?.into(),
                charged: part.len() + of_labels,
                began,
            })
        });
        parts.collect()
    }
}

fn number(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

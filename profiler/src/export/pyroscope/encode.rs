//! Profiles → what a Pyroscope is to store: projected, split, encoded, compressed, and handed to the task that sends.

use std::{sync::Arc, time::Duration};

use tokio::{
    runtime::Handle,
    sync::mpsc::{self, Sender, error::SendError},
};

use super::{Settings, client::Client, proto::LabelPair, queue::Encoded, worker::Worker};
use crate::{
    export::{Destination, Error, Shared, as_count, exporter::dropped, file::gzip},
    health::{Gauge, Loss},
    profile::{Profile, Projected, split::split},
    time::BootNanos,
};

/// Requests' worth of encoded profiles on the way to the task.
const MAX_ENCODED: usize = 8;

/// Encodes profiles for a Pyroscope.
struct Encoder {
    settings: Arc<Settings>,
    shared: Shared,
    outgoing: Sender<Vec<Encoded>>,
}

/// Starts to send to a Pyroscope, by a task on a runtime. Refuses what no server would take, and files that cannot be
/// read.
pub fn start(
    settings: Settings,
    runtime: &Handle,
    shared: &Shared,
) -> Result<Box<dyn Destination>, Error> {
    settings.server.check()?;
    let client = {
        // The client's timers are the runtime's.
        let _inside = runtime.enter();
        Client::new(&settings.server, settings.pace.requests)?
    };
    let settings = Arc::new(settings);
    let (outgoing, incoming) = mpsc::channel(MAX_ENCODED);
    let worker = Worker::new(Arc::clone(&settings), incoming, client, shared);
    let mut ending = shared.ending.clone();
    runtime.spawn(async move {
        worker.run(&mut ending).await;
        // Only now, after the worker has counted what it drops.
        drop(ending);
    });
    Ok(Box::new(Encoder {
        settings,
        shared: shared.clone(),
        outgoing,
    }))
}

impl Destination for Encoder {
    fn name(&self) -> String {
        self.settings.server.url.clone()
    }

    /// Passes encoded profiles on in portions of a request each, and the rest at the window's end.
    fn take(&mut self, window: &Arc<[Profile]>) -> Result<(), Error> {
        let now = BootNanos::now();
        let (mut portion, mut charged) = (Vec::new(), 0);
        for profile in &**window {
            if self.outgoing.is_closed() {
                self.shared.health.count(Loss::EncoderEnded);
                dropped(&profile.service, "the agent ends");
                continue;
            }
            let parts = self.encode(profile, now);
            self.shared.waiting.add(parts.len());
            let health = &self.shared.health;
            health.raise(Gauge::ProfilesWaiting, parts.len());
            charged += parts.iter().map(|part| part.charged).sum::<usize>();
            portion.extend(parts);
            if charged >= self.settings.pace.request_bytes {
                self.hand_over(std::mem::take(&mut portion));
                charged = 0;
            }
        }
        self.hand_over(portion);
        Ok(())
    }
}

impl Encoder {
    fn hand_over(&self, portion: Vec<Encoded>) {
        if portion.is_empty() {
            return;
        }
        let Shared {
            health, waiting, ..
        } = &self.shared;
        if let Err(SendError(portion)) = self.outgoing.blocking_send(portion) {
            for part in portion {
                waiting.subtract(1);
                health.lower(Gauge::ProfilesWaiting, 1);
                health.count(Loss::ProfileLeft);
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
        let health = &self.shared.health;
        let series = &self.settings.server.series;
        let labels: Arc<[LabelPair]> = series.of(&profile.service, profile.kind).into();
        let of_labels: usize = labels
            .iter()
            .map(|label| label.name.len() + label.value.len())
            .sum();
        let began = now.before(Duration::from_nanos(profile.window.duration_nanos));
        let parts = split(profile, self.settings.limits, health);
        health.add(Loss::ProfileEncoded, as_count(parts.len()));
        let parts = parts.into_iter().filter_map(|part| {
            let pprof = gzip(&part);
            // Compressing into memory does not fail; if it ever does, the profile is counted as refused.
            let pprof = pprof.inspect_err(|error| {
                tracing::error!(%error, service = profile.service.name, "a profile could not be compressed");
                health.count(Loss::ProfileUncompressed);
            });
            let mut pprof = pprof.ok()?;
            // It may wait for long, and the queue counts its length, not its capacity.
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

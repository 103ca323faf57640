//! The data plane's thread: drains the ring, runs the pipeline, ends windows.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};

use super::{ControlMessage, Finished, OnWindow, Shared};
use crate::{
    events::Event,
    health::{Health, Loss},
    kernel::{Counters, Ring},
    pipeline::{Notice, Pipeline},
    profile::{Profile, Window, Windows},
    time::{Anchor, BootNanos, monotonic_now},
};

/// How often the ring is drained where nothing wakes its reader. Events wait one turn more, so that the
/// control plane has looked at a new process before its samples are named.
const TURN: Duration = Duration::from_millis(200);
/// The time between two turns at least, however often the reader is woken.
const SHORTEST_TURN: Duration = Duration::from_millis(50);
/// Records drained before the thread looks up.
const BATCH: usize = 65_536;
/// How often the kernel's counters are read: a system call for each of them.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// What the thread owns.
pub(super) struct DataPlane {
    pub(super) pipeline: Pipeline,
    pub(super) ring: Ring,
    pub(super) counters: Arc<Counters>,
    pub(super) shared: Arc<Shared>,
    pub(super) notices: SyncSender<ControlMessage>,
    /// Events of the last turn, in ring order.
    pub(super) waiting: Vec<Event>,
    pub(super) windows: Option<(Duration, OnWindow)>,
    pub(super) records: Option<BufWriter<File>>,
    pub(super) window_start: BootNanos,
    /// How long this window is to be.
    pub(super) window_length: Duration,
    /// Stamps windows.
    pub(super) stamps: Windows,
    pub(super) counted: BootNanos,
}

impl DataPlane {
    /// Goes on until the session stops.
    pub(super) fn run(&mut self) {
        while !self.shared.stop.load(Ordering::Acquire) {
            let start = monotonic_now();
            // Where the wait fails, every turn is of the shortest.
            let _ = self.ring.wait(TURN);
            thread::sleep(SHORTEST_TURN.saturating_sub(start.elapsed()));
            self.turn();
        }
    }

    /// Drains the ring, and works off what was drained the turn before.
    fn turn(&mut self) {
        let mut fresh = Vec::new();
        let (pipeline, notices, health) = (&self.pipeline, &self.notices, &self.shared.health);
        let records = &mut self.records;
        self.ring.drain(BATCH, |record| {
            keep(records, record);
            let Some(event) = pipeline.decode(record) else {
                return;
            };
            if let Some(notice) = Pipeline::notice(&event) {
                send(notices, notice, health);
            }
            fresh.push(event);
        });
        self.pipeline
            .set_snapshot(&self.shared.snapshot(), BootNanos::now());
        for event in std::mem::replace(&mut self.waiting, fresh) {
            self.pipeline.take(event);
        }
        self.shared.sampled().extend(self.pipeline.take_sampled());
        for pid in self.pipeline.stale_mappings() {
            send(
                &self.notices,
                Notice::StaleMappings(pid),
                &self.shared.health,
            );
        }
        let now = BootNanos::now();
        if now.since(self.counted) >= COUNT_EVERY {
            self.counted = now;
            self.counters.publish(&self.shared.health);
        }
        self.end_window_if_due();
    }

    fn end_window_if_due(&mut self) {
        let now = BootNanos::now();
        if now.since(self.window_start) < self.window_length {
            return;
        }
        let profiles = self.end_window(now);
        if let Some((_, on_window)) = &mut self.windows {
            on_window(profiles);
        }
    }

    fn end_window(&mut self, now: BootNanos) -> Vec<Profile> {
        let window = self.stamps.stamp(Window {
            start: Anchor::now().unix(self.window_start),
            duration_nanos: now.0.saturating_sub(self.window_start.0),
        });
        self.window_start = now;
        self.window_length = self
            .windows
            .as_ref()
            .map_or(Duration::MAX, |(length, _)| *length);
        self.pipeline.finish(window)
    }

    /// Empties the ring and ends the last window.
    pub(super) fn finish(&mut self) -> Finished {
        let now = BootNanos(self.shared.stopped.load(Ordering::Acquire));
        // Two turns: the second works off what the first has drained.
        self.turn();
        self.turn();
        self.counters.publish(&self.shared.health);
        let profiles = self.end_window(now);
        Finished {
            profiles,
            table: self.pipeline.table().clone(),
            coverage: self.pipeline.coverage().clone(),
        }
    }
}

/// Keeps a record, as long as that works.
fn keep(records: &mut Option<BufWriter<File>>, record: &[u8]) {
    let Some(file) = records else {
        return;
    };
    if let Err(error) = file.write_all(record) {
        tracing::warn!("the records are kept no further: {error}");
        *records = None;
    }
}

/// Never waits: a control plane that is busy finds by its next scan what it was not told.
fn send(notices: &SyncSender<ControlMessage>, notice: Notice, health: &Health) {
    match notices.try_send(ControlMessage::Notice(notice)) {
        // Disconnected: the session is stopping, and nobody needs the notice any more.
        Ok(()) | Err(TrySendError::Disconnected(_)) => {}
        Err(TrySendError::Full(_)) => health.count(Loss::NoticeDropped),
    }
}

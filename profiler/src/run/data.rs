//! The data plane's thread: drains the ring, runs the pipeline, ends windows.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};

use super::{
    settings::{Finished, OnWindow},
    shared::{ControlMessage, Shared},
    workers::SymbolWorkers,
};
use crate::{
    events::Event,
    health::{Gauge, Health, Loss},
    kernel::{Counters, Ring},
    pipeline::{Notice, Pipeline},
    profile::{Profile, Window, Windows},
    targets::symbols::{FileSymbols, Unnamed, Wanted},
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

/// How often the last samples ask for their symbols.
const WAIT_FOR_SYMBOLS: Duration = Duration::from_millis(10);
/// The most that was on the ring is that of this time and the one before.
const PEAK_EVERY: Duration = Duration::from_secs(15);
/// What a record takes on the ring besides its bytes, which are rounded up to a multiple of it.
const RECORD_HEADER: usize = 8;

/// What the thread hears from, and tells.
pub(super) struct Sources {
    pub(super) ring: Ring,
    pub(super) counters: Arc<Counters>,
    pub(super) shared: Arc<Shared>,
    pub(super) notices: SyncSender<ControlMessage>,
    /// Who reads files for it, and what was read.
    pub(super) readers: Arc<SymbolWorkers>,
    pub(super) symbols: Receiver<(Wanted, FileSymbols)>,
}

/// What the thread owns.
pub(super) struct DataPlane {
    pipeline: Pipeline,
    ring: Ring,
    counters: Arc<Counters>,
    shared: Arc<Shared>,
    notices: SyncSender<ControlMessage>,
    /// Who reads files for it, and what was read.
    readers: Arc<SymbolWorkers>,
    symbols: Receiver<(Wanted, FileSymbols)>,
    /// Events of the last turn, in ring order.
    waiting: Vec<Event>,
    windows: Option<(Duration, OnWindow)>,
    records: Option<BufWriter<File>>,
    window_start: BootNanos,
    /// How long this window is to be.
    window_length: Duration,
    /// Stamps windows.
    stamps: Windows,
    counted: BootNanos,
    peak: Peak,
}

/// The most bytes of the ring that were in use, in this time and in the one before.
#[derive(Debug, Default)]
pub(super) struct Peak {
    before: usize,
    now: usize,
    since: BootNanos,
}

impl Peak {
    /// So many bytes were in use now; the most of late.
    fn take(&mut self, bytes: usize, now: BootNanos) -> usize {
        if now.since(self.since) >= PEAK_EVERY {
            (self.before, self.now, self.since) = (self.now, 0, now);
        }
        self.now = self.now.max(bytes);
        self.before.max(self.now)
    }
}

/// How long the first window is: a random part of the others, so that agents that were started together do
/// not all push at the same moment.
fn first_window(windows: Option<&(Duration, OnWindow)>) -> Duration {
    let least = 0.1;
    windows.map_or(Duration::MAX, |(length, _)| {
        length.mul_f64(least + (1.0 - least) * fastrand::f64())
    })
}

impl DataPlane {
    /// The first window begins now.
    pub(super) fn new(
        pipeline: Pipeline,
        sources: Sources,
        windows: Option<(Duration, OnWindow)>,
        records: Option<File>,
    ) -> Self {
        let now = BootNanos::now();
        Self {
            pipeline,
            ring: sources.ring,
            counters: sources.counters,
            shared: sources.shared,
            notices: sources.notices,
            readers: sources.readers,
            symbols: sources.symbols,
            waiting: Vec::new(),
            window_length: first_window(windows.as_ref()),
            windows,
            records: records.map(BufWriter::new),
            window_start: now,
            stamps: Windows::default(),
            counted: now,
            peak: Peak::default(),
        }
    }

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
        self.shared.health.turns(Gauge::DataTurned);
        let (fresh, used) = self.drain();
        self.take_symbols();
        self.pipeline
            .set_snapshot(&self.shared.snapshot(), BootNanos::now());
        for event in std::mem::replace(&mut self.waiting, fresh) {
            self.pipeline.take(event);
        }
        self.want_symbols();
        self.shared.sampled().extend(self.pipeline.take_sampled());
        for pid in self.pipeline.stale_mappings() {
            send(
                &self.notices,
                Notice::StaleMappings(pid),
                &self.shared.health,
            );
        }
        self.count(used);
        self.end_window_if_due();
    }

    /// Takes what is on the ring, and tells the control plane what it must know; how many bytes that were.
    fn drain(&mut self) -> (Vec<Event>, usize) {
        let mut fresh = Vec::new();
        let mut used = 0;
        let (pipeline, notices, health) = (&mut self.pipeline, &self.notices, &self.shared.health);
        let records = &mut self.records;
        self.ring.drain(BATCH, |record| {
            keep(records, record);
            used += record.len().next_multiple_of(RECORD_HEADER) + RECORD_HEADER;
            let Some(event) = pipeline.decode(record) else {
                return;
            };
            pipeline.hear(&event);
            if let Some(notice) = Pipeline::notice(&event) {
                send(notices, notice, health);
            }
            fresh.push(event);
        });
        (fresh, used)
    }

    /// Leaves the numbers of this turn for those that read them.
    fn count(&mut self, used: usize) {
        let now = BootNanos::now();
        let peak = u64::try_from(self.peak.take(used, now)).unwrap_or(u64::MAX);
        self.shared.health.set(Gauge::RingUsed, peak);
        if now.since(self.counted) >= COUNT_EVERY {
            self.counted = now;
            self.counters.publish(&self.shared.health);
        }
    }

    /// Takes over what was read of files, and the samples that have waited for it.
    fn take_symbols(&mut self) {
        for (wanted, symbols) in self.symbols.try_iter() {
            self.pipeline.learn_symbols(&wanted, symbols);
        }
        self.pipeline.turn(BootNanos::now());
    }

    /// Has files read whose symbols are wanted.
    fn want_symbols(&mut self) {
        for wanted in self.pipeline.take_wanted() {
            if self.readers.ask(wanted.clone()).is_err() {
                let late = FileSymbols::unnamed(Unnamed::Late);
                self.pipeline.learn_symbols(&wanted, late);
            }
        }
    }

    fn end_window_if_due(&mut self) {
        let now = BootNanos::now();
        if now.since(self.window_start) < self.window_length {
            return;
        }
        let due = self.window_start.after(self.window_length);
        let profiles = self.end_window(now);
        if let Some((_, on_window)) = &mut self.windows {
            on_window(profiles);
        }
        let lag = BootNanos::now().since(due).as_nanos();
        let lag = u64::try_from(lag).unwrap_or(u64::MAX);
        self.shared.health.set(Gauge::WindowLag, lag);
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
        // Nothing else is left to do: what waits is waited for.
        while self.pipeline.is_waiting() {
            thread::sleep(WAIT_FOR_SYMBOLS);
            self.take_symbols();
        }
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

//! Wires the rooms: owns threads, queues and the order of starting and stopping. The only file that
//! knows all rooms.
//!
//! Three threads. *data* drains the ring on a timer and runs the pipeline; it never waits for
//! anything but its timer. *control* runs the targets; procfs and ELF files are read there. *looker*
//! reads the memory of processes, which those could make wait for ever.

use std::{
    collections::HashSet,
    fs::File,
    io::{BufWriter, Write as _},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Result;

use crate::{
    cli::SpanProbesArgument,
    config::Sampling,
    events::Event,
    health::{Health, Loss},
    id::Pid,
    kernel::{
        self, Bell, Control as _, ControlError, Counters, KernelControl, Limits, LoadError, Loaded,
        MappingNotices, Ring,
    },
    pipeline::{Notice, Pipeline},
    profile::{self, Coverage, LabelSet, Profile, SpanTable, Window},
    targets::{
        FileId, Scope, Snapshot, Targets,
        opentelemetry::looker::{Answer, Looker, Request},
    },
    time::{Anchor, BootNanos, monotonic_now},
};

/// How often the ring is drained where nothing wakes its reader. Events wait one turn more, so that the
/// control plane has looked at a new process before its samples are named.
const TURN: Duration = Duration::from_millis(200);
/// The time between two turns at least, however often the reader is woken.
const SHORTEST_TURN: Duration = Duration::from_millis(50);
/// Records drained before the thread looks up.
const BATCH: usize = 65_536;
/// Notices that may wait for the control plane.
const MAX_NOTICES: usize = 8_192;
/// Processes that may wait to be looked at.
const MAX_REQUESTS: usize = 16_384;
/// How often the control plane takes the notices of mappings, for a while after the last one.
const TAKE_MAPPINGS: Duration = Duration::from_millis(50);
/// The same while nothing happens.
const TAKE_MAPPINGS_IDLE: Duration = Duration::from_millis(200);
/// How long something has to have been the last that happened.
const IDLE_AFTER: Duration = Duration::from_secs(2);
/// How long the start waits for the first look at every process: a hostile one could make it for ever.
const FIRST_LOOKS: Duration = Duration::from_millis(500);
/// How often the kernel's counters are read: a system call for each of them.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// Distinct rows of a window.
const MAX_STACKS: usize = 100_000;

/// The kernel side, loaded, with nothing listening yet.
pub struct Armed {
    /// What the control plane talks to.
    pub control: KernelControl,
    ring: Ring,
    counters: Counters,
    limits: Limits,
    /// `None` where the kernel does not tell.
    mappings: Option<MappingNotices>,
    period: u64,
    probes: SpanProbesArgument,
    is_sampling: bool,
}

impl Armed {
    /// Starts the sampling clock already, for what must be sampled before the session starts.
    pub fn start_sampling(&mut self) -> Result<(), ControlError> {
        self.is_sampling = true;
        self.control.start_sampling(self.period)
    }
}

/// Loads the kernel side.
pub fn arm(sampling: &Sampling) -> Result<Armed, LoadError> {
    let settings = kernel::Settings {
        ring_size: sampling.ring_size,
        limits: sampling.limits,
        debug: sampling.bpf_log,
    };
    let Loaded {
        control,
        ring,
        counters,
    } = kernel::load(&settings)?;
    let mappings = MappingNotices::open()
        .inspect_err(|error| {
            tracing::warn!(
                "the kernel does not tell of mapped libraries ({error}): those loaded late are found within 5 s"
            );
        })
        .ok();
    Ok(Armed {
        control,
        ring,
        counters,
        limits: sampling.limits,
        mappings,
        period: sampling.period(),
        probes: sampling.span_probes,
        is_sampling: false,
    })
}

/// What is done with profiles when a window ends.
pub type OnWindow = Box<dyn FnMut(Vec<Profile>) + Send>;

/// How a session runs.
pub struct SessionSettings {
    /// Which processes.
    pub scope: Scope,
    /// How samples are summed.
    pub profile: profile::Settings,
    /// How long a window is, and what becomes of its profiles; `None`: one window, until the end.
    pub windows: Option<(Duration, OnWindow)>,
    /// Where to keep the records as they come off the ring, if at all.
    pub records: Option<File>,
}

impl SessionSettings {
    /// Settings of the profile room for these samples and labels.
    pub fn profile(sampling: &Sampling, labels: LabelSet) -> profile::Settings {
        profile::Settings {
            period: sampling.period(),
            span_label: sampling.span_label.into(),
            labels,
            max_stacks: MAX_STACKS,
        }
    }
}

/// A running session.
pub struct Session {
    data: JoinHandle<Finished>,
    control: JoinHandle<()>,
    shared: Arc<Shared>,
    notices: SyncSender<ControlMessage>,
    counters: Arc<Counters>,
    bell: Bell,
}

/// What a session leaves.
pub struct Finished {
    /// The profiles of the last window.
    pub profiles: Vec<Profile>,
    /// Spans by CPU over the whole session.
    pub table: SpanTable,
    /// What share of each process's samples is in spans, over the whole session.
    pub coverage: Coverage,
}

struct Shared {
    stop: AtomicBool,
    /// When the session was told to stop, in boot nanoseconds: the last window ends there.
    stopped: AtomicU64,
    snapshot: Mutex<Snapshot>,
    /// Processes that samples were taken of, as the data plane tells the control plane.
    sampled: Mutex<HashSet<Pid>>,
    health: Health,
}

impl Shared {
    fn sampled(&self) -> MutexGuard<'_, HashSet<Pid>> {
        self.sampled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot(&self) -> Snapshot {
        self.snapshot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn publish(&self, snapshot: Snapshot) {
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }
}

enum ControlMessage {
    Notice(Notice),
    Answer(Box<Answer>),
    Stop,
}

impl Session {
    /// Starts the threads and the sampling clock; the host's processes have been looked at first, so
    /// that the first samples have their spans.
    pub fn start(armed: Armed, settings: SessionSettings, health: &Health) -> Result<Self> {
        let Armed {
            control,
            ring,
            counters,
            limits,
            mappings,
            period,
            probes,
            is_sampling,
        } = armed;
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            stopped: AtomicU64::new(0),
            snapshot: Mutex::new(Snapshot::default()),
            sampled: Mutex::new(HashSet::new()),
            health: health.clone(),
        });
        let counters = Arc::new(counters);
        let data_counters = Arc::clone(&counters);
        let (notices, inbox) = sync_channel(MAX_NOTICES);
        let (requests, looker_inbox) = sync_channel(MAX_REQUESTS);
        let answers = notices.clone();
        thread::Builder::new()
            .name("looker".to_owned())
            .spawn(move || run_looker(&looker_inbox, &answers))?;
        let mut targets = Targets::new(settings.scope, Box::new(control), health.clone());
        targets.limit(limits.processes);
        if mappings.is_some() {
            targets.expect_mapping_notices();
        }
        targets.scan();
        if probes == SpanProbesArgument::Always {
            targets.keep_probes();
        }
        take_first_looks(&mut targets, &requests, &inbox, health);
        targets.update_probes(BootNanos::now());
        if !is_sampling {
            targets.start_sampling(period)?;
        }
        shared.publish(targets.snapshot());
        let control_shared = Arc::clone(&shared);
        let data_shared = Arc::clone(&shared);
        let data_notices = notices.clone();
        let window_start = BootNanos::now();
        let bell = ring.bell();
        Ok(Self {
            control: thread::Builder::new()
                .name("control".to_owned())
                .spawn(move || {
                    run_control(targets, mappings, &inbox, &requests, &control_shared);
                })?,
            data: thread::Builder::new()
                .name("data".to_owned())
                .spawn(move || {
                    // Made here: the symbols it reads must not change threads.
                    let mut data = DataPlane {
                        pipeline: Pipeline::new(settings.profile, data_shared.health.clone()),
                        ring,
                        counters: data_counters,
                        shared: data_shared,
                        notices: data_notices,
                        waiting: Vec::new(),
                        windows: settings.windows,
                        records: settings.records.map(BufWriter::new),
                        window_start,
                        counted: window_start,
                    };
                    data.run();
                    data.finish()
                })?,
            shared,
            notices,
            counters,
            bell,
        })
    }

    /// What is known of the profiled processes now.
    pub fn snapshot(&self) -> Snapshot {
        self.shared.snapshot()
    }

    /// Brings the kernel's counts in the health table up to this moment.
    pub fn count(&self) {
        self.counters.publish(&self.shared.health);
    }

    /// Stops sampling, works off what is on the ring, and ends the last window.
    pub fn stop(self) -> Finished {
        self.shared
            .stopped
            .store(BootNanos::now().0, Ordering::Release);
        // The control plane holds the programs: with it they are detached, and the ring only empties.
        if self.notices.send(ControlMessage::Stop).is_ok() {
            let _ = self.control.join();
        }
        self.shared.stop.store(true, Ordering::Release);
        self.bell.ring();
        match self.data.join() {
            Ok(finished) => finished,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

/// Looks at processes as long as somebody asks, and tells what was found. Nobody waits for it: a
/// hostile process could keep it for ever.
fn run_looker(requests: &Receiver<Request>, answers: &SyncSender<ControlMessage>) {
    let mut looker = Looker::default();
    while let Ok(request) = requests.recv() {
        let answer = looker.look(&request).map(Box::new);
        if let Some(answer) = answer
            && answers.send(ControlMessage::Answer(answer)).is_err()
        {
            return;
        }
    }
}

/// Has every process looked at once, as long as that takes no longer than somebody would wait.
fn take_first_looks(
    targets: &mut Targets,
    requests: &SyncSender<Request>,
    inbox: &Receiver<ControlMessage>,
    health: &Health,
) {
    let start = monotonic_now();
    let mut waiting = ask(targets, requests, health);
    while waiting > 0 {
        let left = FIRST_LOOKS.saturating_sub(start.elapsed());
        // Nothing else is sent before there are threads that send it.
        let Ok(ControlMessage::Answer(answer)) = inbox.recv_timeout(left) else {
            return;
        };
        targets.answer(*answer);
        waiting -= 1;
    }
}

/// Hands on what somebody must look at; how many those are.
fn ask(targets: &mut Targets, requests: &SyncSender<Request>, health: &Health) -> usize {
    let mut asked = 0;
    for request in targets.take_requests() {
        match requests.try_send(request) {
            Ok(()) => asked += 1,
            Err(TrySendError::Full(_)) => health.count(Loss::LookDropped),
            Err(TrySendError::Disconnected(_)) => {}
        }
    }
    asked
}

fn run_control(
    mut targets: Targets,
    mut mappings: Option<MappingNotices>,
    inbox: &Receiver<ControlMessage>,
    requests: &SyncSender<Request>,
    shared: &Shared,
) {
    let mut happened = monotonic_now();
    loop {
        if let Some(notices) = &mut mappings
            && take_mappings(notices, &mut targets, &shared.health)
        {
            happened = monotonic_now();
        }
        let now = BootNanos::now();
        if now >= targets.scan_due() {
            targets.scan();
        }
        targets.sampled(std::mem::take(&mut *shared.sampled()));
        let due = targets.due(now);
        if let Some(snapshot) = targets.changes() {
            shared.publish(snapshot);
        }
        ask(&mut targets, requests, &shared.health);
        let due = due.map_or(targets.scan_due(), |due| due.min(targets.scan_due()));
        let mut wait = Duration::from_nanos(due.0.saturating_sub(BootNanos::now().0));
        if mappings.is_some() {
            wait = wait.min(if happened.elapsed() < IDLE_AFTER {
                TAKE_MAPPINGS
            } else {
                TAKE_MAPPINGS_IDLE
            });
        }
        match inbox.recv_timeout(wait) {
            Ok(message) => {
                happened = monotonic_now();
                // What was mapped before something happened must be known when that is handled.
                if let Some(notices) = &mut mappings {
                    take_mappings(notices, &mut targets, &shared.health);
                }
                // Everything that waits is handled before the next snapshot is published.
                let mut next = Some(message);
                while let Some(message) = next {
                    match message {
                        ControlMessage::Stop => return,
                        ControlMessage::Notice(Notice::Process(notice)) => targets.notice(notice),
                        ControlMessage::Notice(Notice::Resource(resource)) => {
                            targets.resource(&resource);
                        }
                        ControlMessage::Notice(Notice::StaleMappings(pid)) => {
                            targets.refresh_mappings(pid);
                        }
                        ControlMessage::Notice(Notice::StaleRecipe(pid, class)) => {
                            targets.refresh_recipe(pid, class);
                        }
                        ControlMessage::Answer(answer) => targets.answer(*answer),
                    }
                    next = inbox.try_recv().ok();
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// Hands on what was mapped; whether anything was.
fn take_mappings(notices: &mut MappingNotices, targets: &mut Targets, health: &Health) -> bool {
    let mut any = false;
    let lost = notices.drain(|mapped| {
        any = true;
        let file = FileId {
            device: mapped.device,
            inode: mapped.inode,
        };
        targets.mapped(mapped.pid, file);
    });
    if lost > 0 {
        health.add(Loss::MappingNoticeLost, lost);
        targets.has_missed();
    }
    any || lost > 0
}

struct DataPlane {
    pipeline: Pipeline,
    ring: Ring,
    counters: Arc<Counters>,
    shared: Arc<Shared>,
    notices: SyncSender<ControlMessage>,
    /// Events of the last turn, in ring order.
    waiting: Vec<Event>,
    windows: Option<(Duration, OnWindow)>,
    records: Option<BufWriter<File>>,
    window_start: BootNanos,
    counted: BootNanos,
}

impl DataPlane {
    fn run(&mut self) {
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
        let Some((length, _)) = &self.windows else {
            return;
        };
        if now.since(self.window_start) < *length {
            return;
        }
        let profiles = self.end_window(now);
        if let Some((_, on_window)) = &mut self.windows {
            on_window(profiles);
        }
    }

    fn end_window(&mut self, now: BootNanos) -> Vec<Profile> {
        let window = Window {
            start: Anchor::now().unix(self.window_start),
            duration_nanos: now.0.saturating_sub(self.window_start.0),
        };
        self.window_start = now;
        self.pipeline.finish(window)
    }

    /// Empties the ring and ends the last window.
    fn finish(&mut self) -> Finished {
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

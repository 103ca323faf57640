//! Wires the rooms: owns threads, queues and the order of starting and stopping. The only room that
//! knows all others.
//!
//! *data* ([`data`]) drains the ring and runs the pipeline; it never waits for anything but the ring, and reads no
//! file. *control* ([`control`]) runs the targets; procfs and ELF files are read there. *looker* reads the memory of
//! processes, which those could make wait for ever. *symbols* reads the symbols of files.

mod control;
mod data;

use std::{
    collections::{BTreeSet, HashSet},
    fs::File,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Result;

use self::{
    control::{run_control, take_first_looks, watch_over_last},
    data::{DataPlane, Sources},
};
use crate::{
    config::Sampling,
    health::{Gauge, Health, Phase},
    id::{Pid, ServiceAttribute},
    kernel::{
        self, Bell, Control as _, ControlError, Counters, KernelControl, Limits, LoadError, Loaded,
        MappingNotices, Ring, Usage,
    },
    pipeline::{Notice, Pipeline},
    profile::{self, Coverage, Profile, SpanTable},
    rights::{Finding, Thread, keep_for},
    targets::{
        Scope, Search, Snapshot, Targets, facilities,
        look::looks::{Look, Looks},
        symbols::{self, FileSymbols, Wanted},
        workers::{Report, Work, Workers},
    },
    time::BootNanos,
};

/// Notices that may wait for the control plane.
const MAX_NOTICES: usize = 8_192;
/// Files that were read and not taken over yet.
const MAX_SYMBOLS: usize = 64;
/// Distinct stacks of a window.
const MAX_STACKS: usize = 100_000;

/// The kernel side, loaded, with nothing listening yet.
pub struct Armed {
    /// What the control plane talks to.
    pub control: KernelControl,
    ring: Ring,
    counters: Counters,
    /// Who tells of the kernel programs and maps; taken by whoever asks.
    pub usage: Usage,
    limits: Limits,
    /// What is missing, and not so much that nothing works.
    lacks: Vec<Finding>,
    /// `None` if the kernel does not tell.
    mappings: Option<MappingNotices>,
    keeps_probes: bool,
    is_sampling: bool,
}

impl Armed {
    /// Says what is missing, and what that costs.
    pub fn tell_lacks(&self) {
        for lack in &self.lacks {
            tracing::warn!("{lack}");
        }
    }

    /// Starts the sampling clock already, for what must be sampled before the session starts.
    pub fn start_sampling(&mut self) -> Result<(), ControlError> {
        self.is_sampling = true;
        self.control.start_sampling()
    }
}

/// Loads the kernel side.
pub fn arm(sampling: &Sampling) -> Result<Armed, LoadError> {
    let settings = kernel::Settings {
        tick: sampling.tick(),
        ring_size: sampling.ring_size,
        limits: sampling.limits,
        debug: sampling.bpf_log,
        time_stages: sampling.time_stages,
        programs: sampling.kernel_programs,
        probe_routes: sampling.probe_routes.clone(),
    };
    let Loaded {
        control,
        ring,
        counters,
        lacks,
        usage,
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
        usage,
        limits: sampling.limits,
        lacks,
        mappings,
        keeps_probes: sampling.keeps_probes,
        is_sampling: false,
    })
}

/// What is done with profiles when a window ends.
pub type OnWindow = Box<dyn FnMut(Vec<Profile>) + Send>;

/// How a session runs.
pub struct SessionSettings {
    /// Which processes.
    pub scope: Scope,
    /// What tells the profiles of a service apart, besides its name and namespace.
    pub told_apart: BTreeSet<ServiceAttribute>,
    /// How samples are summed.
    pub profile: profile::Settings,
    /// How long a window is, and what becomes of its profiles; `None`: one window, until the end.
    pub windows: Option<(Duration, OnWindow)>,
    /// Where to keep the records as they come off the ring, if at all.
    pub records: Option<File>,
}

impl SessionSettings {
    /// Settings of the profile room for these samples.
    pub fn profile(sampling: &Sampling) -> profile::Settings {
        profile::Settings {
            tick: sampling.tick(),
            span_label: sampling.span_label,
            max_stacks: MAX_STACKS,
        }
    }
}

/// Who reads the symbols of files.
type SymbolWorkers = Workers<Wanted, FileSymbols>;

/// A running session.
pub struct Session {
    data: JoinHandle<Finished>,
    control: JoinHandle<()>,
    /// Says that the programs are detached.
    detached: Receiver<()>,
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
        let processes = u64::try_from(snapshot.iter().count()).unwrap_or(u64::MAX);
        self.health.set(Gauge::Processes, processes);
        *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
    }
}

enum ControlMessage {
    Notice(Notice),
    Look(Look),
    Stop,
}

/// Starts the first of those who read the symbols of files.
fn symbol_workers(read: SyncSender<(Wanted, FileSymbols)>) -> io::Result<SymbolWorkers> {
    let begin = || -> Work<Wanted, FileSymbols> {
        keep_for(Thread::Looker);
        Box::new(symbols::read)
    };
    Workers::start(symbols::WORKERS, begin, move |report| {
        // It is of a file, not of a moment: what comes late is as right as what comes in time.
        let (Report::InTime(wanted, symbols) | Report::Late(wanted, symbols)) = report;
        // Nobody takes it any more where the session is over.
        let _ = read.send((wanted, symbols));
    })
}

/// A pipeline that remembers more than the kernel programs do.
fn pipeline(settings: profile::Settings, limits: Limits, health: &Health) -> Pipeline {
    Pipeline::new(settings, limits.remembered_here(), health.clone())
}

/// Starts a thread with a name.
fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// Starts the workers that look at processes; the control plane hears what they find.
fn start_looks(found: SyncSender<ControlMessage>, health: &Health) -> io::Result<Looks> {
    let tell = move |look| {
        // The control plane is gone if the session is over.
        let _ = found.send(ControlMessage::Look(look));
    };
    Looks::start(|| keep_for(Thread::Looker), tell, health.clone())
}

impl Session {
    /// Starts the threads and the sampling clock; the host's processes have been looked at first, so
    /// that the first samples have their spans.
    pub fn start(armed: Armed, settings: SessionSettings, health: &Health) -> Result<Self> {
        let Armed {
            control,
            ring,
            counters,
            usage: _,
            limits,
            lacks: _,
            mappings,
            keeps_probes,
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
        let (notices, inbox) = sync_channel(MAX_NOTICES);
        let looks = start_looks(notices.clone(), health)?;
        let (read, symbols) = sync_channel(MAX_SYMBOLS);
        let readers = Arc::new(symbol_workers(read)?);
        let search = Search {
            scope: settings.scope,
            most: usize::try_from(limits.processes).unwrap_or(usize::MAX),
            has_mapping_notices: mappings.is_some(),
        };
        let facilities = facilities::all(facilities::Settings {
            told_apart: settings.told_apart,
            keep_probes: keeps_probes,
            // Windows go to a server, to which others may push the same.
            warn_of_sdks: settings.windows.is_some(),
        });
        let mut targets = Targets::new(search, facilities, Box::new(control), health.clone());
        take_first_looks(&mut targets, &looks, &inbox);
        targets.due(BootNanos::now());
        if !is_sampling {
            targets.start_sampling()?;
        }
        shared.publish(targets.snapshot());
        let (tell_detached, detached) = sync_channel(1);
        let bell = ring.bell();
        let sources = Sources {
            ring,
            counters: Arc::clone(&counters),
            shared: Arc::clone(&shared),
            notices: notices.clone(),
            readers: Arc::clone(&readers),
            symbols,
        };
        let control_shared = Arc::clone(&shared);
        // From now on a thread that does not turn is missed.
        health.turns(Gauge::DataTurned);
        health.turns(Gauge::ControlTurned);
        let session = Self {
            control: spawn("control", move || {
                keep_for(Thread::Control);
                run_control(targets, mappings, &inbox, &looks, &readers, &control_shared);
                // With the targets the programs are gone, and the ring only empties.
                let _ = tell_detached.send(());
                watch_over_last(&readers);
            })?,
            data: spawn("data", move || {
                keep_for(Thread::Data);
                // Made here: the symbols it reads must not change threads.
                let pipeline = pipeline(settings.profile, limits, &sources.shared.health);
                let mut data =
                    DataPlane::new(pipeline, sources, settings.windows, settings.records);
                data.run();
                data.finish()
            })?,
            detached,
            shared,
            notices,
            counters,
            bell,
        };
        health.enter(Phase::Running);
        Ok(session)
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
        self.shared.health.enter(Phase::Stopping);
        self.shared
            .stopped
            .store(BootNanos::now().0, Ordering::Release);
        // The control plane holds the programs: with it they are detached, and the ring only empties.
        if self.notices.send(ControlMessage::Stop).is_ok() {
            let _ = self.detached.recv();
        }
        self.shared.stop.store(true, Ordering::Release);
        self.bell.ring();
        let finished = self.data.join();
        // It has watched over those who read files, as long as samples waited for that.
        let _ = self.control.join();
        match finished {
            Ok(finished) => finished,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

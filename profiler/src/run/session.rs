//! A session: its threads, and the order in which they start and stop.

use std::{
    io,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::Result;

use super::{
    armed::Armed,
    control::{ControlPlane, watch_over_last},
    data::{DataPlane, Sources},
    settings::{Finished, SessionSettings},
    shared::{ControlMessage, Shared},
    workers::{start_errands, start_looks, symbol_workers},
};
use crate::{
    health::{Health, Phase},
    kernel::{Bell, Counters, KernelControl, Limits},
    pipeline::Pipeline,
    rights::{Thread, keep_for},
    targets::{Search, Snapshot, Targets, facilities, facility::Facility},
    time::{BootNanos, monotonic_now},
};

/// Notices that may wait for the control plane.
const MAX_NOTICES: usize = 8_192;
/// How long the control thread may take to stop: taking the probes off takes the kernel tens of milliseconds each.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// How often it is told again, if its queue is full.
const RETRY_STOP: Duration = Duration::from_millis(10);
/// Files that were read and not taken over yet.
const MAX_SYMBOLS: usize = 64;

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

impl Session {
    /// Starts the threads and the sampling clock; the host's processes have been looked at first, so
    /// that the first samples have their spans.
    pub fn start(armed: Armed, settings: SessionSettings, health: &Health) -> Result<Self> {
        let (search, facilities) = (search(&armed, &settings), facilities(&armed, &settings));
        let shared = Arc::new(Shared::new(health.clone()));
        let counters = Arc::new(armed.counters);
        let bell = armed.ring.bell();
        let (notices, inbox) = sync_channel(MAX_NOTICES);
        let (read, symbols) = sync_channel(MAX_SYMBOLS);
        let readers = Arc::new(symbol_workers(read)?);
        let mut control = ControlPlane {
            targets: targets(search, facilities, armed.control, health)?,
            mappings: armed.mappings,
            inbox,
            looks: start_looks(notices.clone(), health)?,
            readers: Arc::clone(&readers),
            shared: Arc::clone(&shared),
        };
        control.begin(armed.is_sampling)?;
        let sources = Sources {
            ring: armed.ring,
            counters: Arc::clone(&counters),
            shared: Arc::clone(&shared),
            notices: notices.clone(),
            readers,
            symbols,
        };
        let (tell_detached, detached) = sync_channel(1);
        let session = Self {
            control: spawn_control(control, tell_detached)?,
            data: spawn_data(sources, settings, armed.limits)?,
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
        let is_detached = self.detach();
        if !is_detached {
            tracing::warn!(
                "the control thread does not stop within {STOP_WITHIN:?}, as something in the kernel blocks it: the kernel \
                 programs stay until the process ends"
            );
        }
        self.shared.stop.store(true, Ordering::Release);
        self.bell.ring();
        let finished = self.data.join();
        if is_detached {
            // It has checked the deadlines of the workers that read symbols for as long as samples waited for them.
            let _ = self.control.join();
        }
        match finished {
            Ok(finished) => finished,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Has the control plane detach the programs; whether it has. A process can block it in the kernel: taking probes
    /// off waits for the lock of each process that maps their file.
    fn detach(&self) -> bool {
        let start = monotonic_now();
        while let Err(refused) = self.notices.try_send(ControlMessage::Stop) {
            let is_gone = matches!(refused, TrySendError::Disconnected(_));
            if is_gone || start.elapsed() > STOP_WITHIN {
                return is_gone;
            }
            thread::sleep(RETRY_STOP);
        }
        let left = STOP_WITHIN.saturating_sub(start.elapsed());
        // If it is gone without a word, it is gone.
        self.detached.recv_timeout(left) != Err(RecvTimeoutError::Timeout)
    }
}

/// Starts a thread with a name.
fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

/// Which processes are searched.
fn search(armed: &Armed, settings: &SessionSettings) -> Search {
    Search {
        scope: settings.scope.clone(),
        most: usize::try_from(armed.limits.processes).unwrap_or(usize::MAX),
        has_mapping_notices: armed.mappings.is_some(),
    }
}

/// The table of processes.
fn targets(
    search: Search,
    facilities: Vec<Box<dyn Facility>>,
    kernel: KernelControl,
    health: &Health,
) -> io::Result<Targets> {
    let errands = start_errands(health)?;
    let kernel = Box::new(kernel);
    Ok(Targets::new(
        search,
        facilities,
        kernel,
        health.clone(),
        errands,
    ))
}

/// What is learnt of them.
fn facilities(armed: &Armed, settings: &SessionSettings) -> Vec<Box<dyn Facility>> {
    facilities::all(facilities::Settings {
        told_apart: settings.told_apart.clone(),
        keep_probes: armed.keeps_probes,
        not_recorded_ids: armed.not_recorded_ids,
        // Windows go to a server, to which others may push the same.
        warn_of_sdks: settings.windows.is_some(),
        warn_of_unsupported: true,
    })
}

fn spawn_control(
    mut plane: ControlPlane,
    tell_detached: SyncSender<()>,
) -> io::Result<JoinHandle<()>> {
    spawn("control", move || {
        keep_for(Thread::Control);
        plane.run();
        // With the targets the programs are gone, and the ring only empties.
        let readers = plane.end();
        let _ = tell_detached.send(());
        watch_over_last(&readers);
    })
}

fn spawn_data(
    sources: Sources,
    settings: SessionSettings,
    limits: Limits,
) -> io::Result<JoinHandle<Finished>> {
    spawn("data", move || {
        keep_for(Thread::Data);
        // Made here: the symbols it reads must not change threads. It remembers more than the kernel programs do.
        let health = sources.shared.health.clone();
        let pipeline = Pipeline::new(settings.profile, limits.remembered_here(), health);
        let mut data = DataPlane::new(pipeline, sources, settings.windows, settings.records);
        data.run();
        data.finish()
    })
}

//! What the kernel programs log (aya-log), brought to tracing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use aya::Ebpf;
use aya_log::EbpfLogger;

use crate::rights::{Thread, keep_for};

/// Passes a kernel program's line on to tracing.
struct ToTracing;

impl log::Log for ToTracing {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        tracing::debug!(target: "spanprof::bpf", "{}", record.args());
    }

    fn flush(&self) {}
}

/// How often what was logged is written out.
const EVERY: Duration = Duration::from_millis(100);

/// The kernel programs' log: a thread writes it out for as long as this lives.
#[derive(Debug)]
pub(super) struct BpfLog {
    stop: Arc<AtomicBool>,
}

impl BpfLog {
    /// Opens the log; `None` (and a warning) if it cannot be.
    pub(super) fn start(ebpf: &mut Ebpf) -> Option<Self> {
        let warn = |error: &dyn std::error::Error| {
            tracing::warn!("no log of the kernel programs: {error}");
        };
        let mut logger = EbpfLogger::init_with_logger(ebpf, ToTracing)
            .inspect_err(|error| warn(error))
            .ok()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        thread::Builder::new()
            .name("bpf-log".to_owned())
            .spawn(move || {
                keep_for(Thread::Waiting);
                while !stopped.load(Ordering::Relaxed) {
                    thread::sleep(EVERY);
                    logger.flush();
                }
            })
            .inspect_err(|error| warn(error))
            .ok()?;
        Some(Self { stop })
    }
}

impl Drop for BpfLog {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

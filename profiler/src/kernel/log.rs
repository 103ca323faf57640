//! What the kernel programs log (aya-log), brought to tracing.

use aya::Ebpf;
use aya_log::EbpfLogger;

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

/// The kernel programs' log.
pub(super) struct BpfLog {
    logger: EbpfLogger<ToTracing>,
}

impl BpfLog {
    /// Opens the log; `None` (and a warning) where it cannot be.
    pub(super) fn start(ebpf: &mut Ebpf) -> Option<Self> {
        match EbpfLogger::init_with_logger(ebpf, ToTracing) {
            Ok(logger) => Some(Self { logger }),
            Err(error) => {
                tracing::warn!("no log of the kernel programs: {error}");
                None
            }
        }
    }

    /// Writes out what is waiting.
    pub(super) fn flush(&mut self) {
        self.logger.flush();
    }
}

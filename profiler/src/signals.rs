//! Signals, as flags that loops look at.

use std::{
    fs, io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the agent is told by signals.
#[derive(Clone, Debug, Default)]
pub struct AgentSignals {
    /// SIGTERM, SIGINT or SIGHUP has come.
    pub stop: Arc<AtomicBool>,
    /// SIGUSR1 has come: print the table of losses.
    pub report: Arc<AtomicBool>,
}

/// A flag that the first SIGINT, SIGTERM or SIGHUP sets.
pub fn on_interrupt() -> io::Result<&'static AtomicBool> {
    let signals = of_agent()?;
    // One for the life of the process.
    Ok(Box::leak(Box::new(signals.stop)))
}

/// The agent's signals; each unparks the calling thread. A second one to stop ends the process at once.
pub fn of_agent() -> io::Result<AgentSignals> {
    let caller = thread::current();
    let signals = AgentSignals::default();
    let flags = signals.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    let (ready, started) = std::sync::mpsc::channel();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async move {
                let streams = (|| {
                    Ok::<_, io::Error>((
                        signal(SignalKind::interrupt())?,
                        signal(SignalKind::terminate())?,
                        signal(SignalKind::user_defined1())?,
                        if ignores_hangup() {
                            None
                        } else {
                            Some(signal(SignalKind::hangup())?)
                        },
                    ))
                })();
                let (mut interrupt, mut terminate, mut report, mut hangup) = match streams {
                    Ok(streams) => {
                        let _ = ready.send(Ok(()));
                        streams
                    }
                    Err(error) => {
                        let _ = ready.send(Err(error));
                        return;
                    }
                };
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => stop(&flags, 130),
                        _ = terminate.recv() => stop(&flags, 143),
                        () = received(&mut hangup) => stop(&flags, 129),
                        _ = report.recv() => flags.report.store(true, Ordering::Relaxed),
                    }
                    caller.unpark();
                }
            });
        })?;
    started
        .recv()
        .map_err(|_gone| io::Error::other("the signal thread has ended"))??;
    Ok(signals)
}

fn stop(flags: &AgentSignals, code: i32) {
    if flags.stop.swap(true, Ordering::Relaxed) {
        // Asked twice: somebody does not want to wait.
        std::process::exit(code);
    }
}

/// Comes back when the signal has come; never where it is not listened for.
async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Whether whoever has started this process has it ignore SIGHUP, as `nohup` does: to listen for it would
/// undo that.
fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The lowest bit is of signal 1.
    ignored.is_some_and(|mask| mask & 1 != 0)
}

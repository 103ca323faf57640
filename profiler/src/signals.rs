//! Signals, as words that loops wait for.

use std::{
    fs, io,
    sync::atomic::{AtomicBool, Ordering},
};

use tokio::{
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

/// What a signal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// SIGTERM, SIGINT or SIGHUP: stop. A second one ends the process at once.
    Stop,
    /// SIGUSR1: print the table of losses.
    Report,
}

/// The words as they come.
pub type Words = mpsc::UnboundedReceiver<Word>;

/// A flag that the first SIGINT, SIGTERM or SIGHUP sets.
pub fn on_interrupt(runtime: &Handle) -> io::Result<&'static AtomicBool> {
    // One for the life of the process.
    let flag: &'static AtomicBool = Box::leak(Box::default());
    let mut words = listen(runtime)?;
    runtime.spawn(async move {
        while let Some(word) = words.recv().await {
            if word == Word::Stop {
                flag.store(true, Ordering::Relaxed);
            }
        }
    });
    Ok(flag)
}

/// Listens from now on.
pub fn listen(runtime: &Handle) -> io::Result<Words> {
    let _inside = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut report = signal(SignalKind::user_defined1())?;
    let mut hangup = if ignores_hangup() {
        None
    } else {
        Some(signal(SignalKind::hangup())?)
    };
    let (words, receiver) = mpsc::unbounded_channel();
    runtime.spawn(async move {
        let mut asked_before = false;
        loop {
            let code = tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
                () = received(&mut hangup) => 129,
                _ = report.recv() => {
                    // The receiver may be gone: the process is ending.
                    let _ = words.send(Word::Report);
                    continue;
                }
            };
            if asked_before {
                // A second signal: the user does not want to wait.
                std::process::exit(code);
            }
            asked_before = true;
            let _ = words.send(Word::Stop);
        }
    });
    Ok(receiver)
}

/// Comes back when the signal has come; never if it is not listened for.
async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Whether this process was started with SIGHUP ignored, as `nohup` does: to listen for it would
/// undo that.
fn ignores_hangup() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // The lowest bit is of signal 1.
    ignored.is_some_and(|mask| mask & 1 != 0)
}

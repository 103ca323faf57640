//! Signals, as words that loops wait for.

use std::{
    fs, io,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use tokio::{
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};

use crate::time::monotonic_now;

/// Signals that come within this time of the first are the same wish to stop. GNU `timeout` signals its child and then
/// the child's group, and a service manager the whole group: both reach this process within microseconds.
const ONE_WISH: Duration = Duration::from_secs(1);

/// What a signal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// SIGTERM, SIGINT or SIGHUP: stop. One that comes a second later or more ends the process at once.
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
        let mut wishes = Wishes::default();
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
            match wishes.heard(monotonic_now()) {
                Wish::Stop => {
                    let _ = words.send(Word::Stop);
                }
                Wish::Again => {}
                // The user does not want to wait.
                Wish::AtOnce => std::process::exit(code),
            }
        }
    });
    Ok(receiver)
}

/// What a signal to stop means after those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// To stop.
    Stop,
    /// What the one before it means.
    Again,
    /// To stop at once, without what takes time.
    AtOnce,
}

/// The signals to stop that have come.
#[derive(Debug, Default)]
struct Wishes {
    first: Option<Instant>,
}

impl Wishes {
    /// A signal to stop has come.
    fn heard(&mut self, now: Instant) -> Wish {
        match self.first {
            None => {
                self.first = Some(now);
                Wish::Stop
            }
            Some(first) if now.saturating_duration_since(first) < ONE_WISH => Wish::Again,
            Some(_) => Wish::AtOnce,
        }
    }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Wish, Wishes};
    use crate::time::monotonic_now;

    /// Signals of the same moment are one; a later one ends the process at once, however many came before it.
    #[test]
    fn signals_within_a_second_are_one() {
        let (mut wishes, start) = (Wishes::default(), monotonic_now());
        let mut heard = |milliseconds| wishes.heard(start + Duration::from_millis(milliseconds));
        assert_eq!(heard(0), Wish::Stop);
        assert_eq!(heard(0), Wish::Again);
        assert_eq!(heard(999), Wish::Again);
        assert_eq!(heard(1_000), Wish::AtOnce);
        assert_eq!(heard(60_000), Wish::AtOnce);
    }
}

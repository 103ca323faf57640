//! Processes that end with the test that started them, also when it panics.

#![expect(
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::expect_used,
    reason = "a test cannot go on when its processes do not do as they should"
)]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, Once, PoisonError},
    thread,
    time::Duration,
};

use profiler::time::monotonic_now;
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1};

/// How long anything may take before the test fails. Generous: only failures wait for it.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until `condition` gives something.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = monotonic_now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < DEADLINE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Whether the signals were seen to.
static HEARD: Once = Once::new();

/// Installs handlers for signals that the parent of the tests has set to be ignored, as `nohup` and shells in the
/// background do: a child inherits ignored signals, but no handlers. The handlers do nothing, so the tests go on as
/// if the signals were ignored.
fn hear_signals() {
    let status = fs::read_to_string("/proc/self/status").expect("every process has a status");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = u64::from_str_radix(ignored.expect("of signals, too").trim(), 16);
    let ignored = ignored.expect("a mask of signals");
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1] {
        if ignored & 1 << (signal - 1) != 0 {
            signal_hook::flag::register(signal, Arc::default()).expect("it can be listened to");
        }
    }
}

/// A child process with its streams read; killed with all its descendants of the same group when
/// dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// What it writes on stdout.
    pub stdout: Lines,
    /// What it writes on stderr.
    pub stderr: Lines,
    stdin: Option<ChildStdin>,
}

/// How a process has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status.
    pub status: ExitStatus,
    /// All it wrote on stdout.
    pub stdout: String,
    /// All it wrote on stderr.
    pub stderr: String,
}

impl Running {
    /// Starts a command, in a process group of its own.
    pub fn start(command: &mut Command) -> Self {
        HEARD.call_once(hear_signals);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self {
            stdout: Lines::read(child.stdout.take().expect("piped")),
            stderr: Lines::read(child.stderr.take().expect("piped")),
            stdin: child.stdin.take(),
            child,
        }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes a line on its stdin.
    pub fn send_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        writeln!(stdin, "{line}").expect("the process reads its stdin");
    }

    /// Ends its stdin.
    pub fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it has not been waited for");
    }

    /// Waits until it has ended.
    pub fn wait(mut self) -> Ended {
        self.close_stdin();
        let pid = self.pid();
        let status = eventually(&format!("the end of process {pid}"), || {
            self.child.try_wait().expect("a child can be waited for")
        });
        Ended {
            status,
            stdout: self.stdout.rest(),
            stderr: self.stderr.rest(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only if the process has already ended.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The lines of a stream, as they come.
#[derive(Clone, Debug)]
pub struct Lines(Arc<(Mutex<Text>, Condvar)>);

#[derive(Debug, Default)]
struct Text {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn read(stream: impl Read + Send + 'static) -> Self {
        let lines = Self(Arc::default());
        let shared = Arc::clone(&lines.0);
        thread::spawn(move || {
            let (text, changed) = &*shared;
            let change = |change: &dyn Fn(&mut Text)| {
                change(&mut text.lock().unwrap_or_else(PoisonError::into_inner));
                changed.notify_all();
            };
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                change(&|text| text.lines.push(line.clone()));
            }
            change(&|text| text.ended = true);
        });
        lines
    }

    /// The first line that contains `needle`; waits for it.
    pub fn wait_for(&self, needle: &str) -> String {
        let find = |text: &Text| {
            text.lines
                .iter()
                .find(|line| line.contains(needle))
                .cloned()
        };
        let text = self.wait_until(|text| text.ended || find(text).is_some());
        find(&text).unwrap_or_else(|| panic!("no line with {needle:?} in {:#?}", text.lines))
    }

    /// Whether a line comes that contains `needle`; waits for it, or for the end.
    pub fn has(&self, needle: &str) -> bool {
        let find = |text: &Text| text.lines.iter().any(|line| line.contains(needle));
        find(&self.wait_until(|text| text.ended || find(text)))
    }

    /// All lines so far.
    pub fn so_far(&self) -> String {
        self.wait_until(|_| true).lines.join("\n")
    }

    /// All lines, once the stream has ended.
    fn rest(&self) -> String {
        self.wait_until(|text| text.ended).lines.join("\n")
    }

    fn wait_until(&self, condition: impl Fn(&Text) -> bool) -> Text {
        let (text, changed) = &*self.0;
        let text = text.lock().unwrap_or_else(PoisonError::into_inner);
        let (text, waited) = changed
            .wait_timeout_while(text, DEADLINE, |text| !condition(text))
            .unwrap_or_else(PoisonError::into_inner);
        assert!(
            !waited.timed_out(),
            "waited in vain; so far: {:#?}",
            text.lines
        );
        Text {
            lines: text.lines.clone(),
            ended: text.ended,
        }
    }
}

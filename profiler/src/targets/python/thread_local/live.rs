//! The thread-local against running interpreters: it holds the state of a thread that runs Python, and
//! null in one that waits.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use profiler_common::walk::ReadUser as _;

use super::{ThreadLocal, is_musl, read_at, resolve};
use crate::{
    id::Pid,
    targets::{
        look::memory::Memory,
        mappings, procfs,
        python::live::{found, interpreters},
    },
    time::monotonic_now,
};

/// Of two threads, the one that is named runs Python and the other one waits. Which threads they are is
/// said by their thread pointers.
const SCRIPT: &str = "\
import sys, threading, time
def run():
    while True:
        pass
def wait():
    time.sleep(3600)
main, other = (run, wait) if sys.argv[1] == 'main' else (wait, run)
thread = threading.Thread(target=other, daemon=True)
thread.start()
print(threading.get_ident(), thread.ident, flush=True)
main()
";

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Starts a script, and reads the thread pointers that it prints.
    fn start(python: &Path, script: &Path, who: &str) -> (Self, Vec<u64>) {
        let child = Command::new(python)
            .arg(script)
            .arg(who)
            .stdout(Stdio::piped())
            .spawn();
        let mut running = Self(child.unwrap());
        let mut line = String::new();
        let said = running.0.stdout.take().unwrap();
        BufReader::new(said).read_line(&mut line).unwrap();
        let threads = line.split_whitespace().map(|it| it.parse().unwrap());
        (running, threads.collect())
    }
}

/// Waits until something is so, for half a minute at most.
fn wait_for(is_so: impl Fn() -> bool) {
    let start = monotonic_now();
    while !is_so() && start.elapsed() < Duration::from_secs(30) {
        thread::sleep(Duration::from_millis(5));
    }
}

/// Checks two threads of which one runs Python; `None` if the interpreter has no thread-local.
fn check(python: &Path, script: &Path, who: &str) -> Option<ThreadLocal> {
    let (running, threads) = Running::start(python, script, who);
    let pid = Pid(running.0.id());
    let memory = Memory::open(procfs::stat(pid).unwrap().process).unwrap();
    let (facts, placed) = found(pid);
    assert_eq!(facts.thread_local.is_some(), facts.version >= (3, 12, 0));
    let thread_local = facts.thread_local?;
    let is_musl = is_musl(&mappings::read(pid).unwrap());
    let place = resolve(thread_local, placed.bias, is_musl, &memory).unwrap();
    let word = |address: u64| memory.read_u64(address).unwrap();
    // By the thread that made it, which here is the one that runs it.
    let state_of = |thread: u64| {
        let interpreter = word(placed.runtime + u64::from(facts.layout.runtime_interpreters));
        let mut state = word(interpreter + u64::from(facts.layout.interpreter_threads));
        while word(state + u64::from(facts.layout.thread_id)) != thread {
            state = word(state + u64::from(facts.layout.thread_next));
        }
        state
    };
    let is_running = |at: usize| (at == 0) == (who == "main");
    let expected: Vec<_> = threads
        .iter()
        .enumerate()
        .map(|(at, thread)| Some(if is_running(at) { state_of(*thread) } else { 0 }))
        .collect();
    let read = || -> Vec<_> {
        threads
            .iter()
            .map(|thread| read_at(&memory, place, *thread))
            .collect()
    };
    // They print their ids before they run or wait.
    wait_for(|| read() == expected);
    for _ in 0..1000 {
        assert_eq!(read(), expected, "{} {who} {place:?}", python.display());
    }
    Some(thread_local)
}

/// In each interpreter from 3.12 on the thread-local is found without a doubt; before, there is none.
#[test]
fn threads_that_run_and_wait() {
    let mut script = tempfile::NamedTempFile::new().unwrap();
    script.write_all(SCRIPT.as_bytes()).unwrap();
    for python in interpreters() {
        let found = ["main", "other"].map(|who| check(&python, script.path(), who));
        assert_eq!(found[0], found[1]);
        println!("{}: {:x?}", python.display(), found[0]);
    }
}

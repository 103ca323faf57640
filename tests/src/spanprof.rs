//! Runs the binary `spanprof`, named by `SPANPROF_BIN`.

#![expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "a test cannot go on without its recording"
)]

use std::{cell::Cell, env, path::PathBuf, process::Command};

use tempfile::TempDir;

use profiler::health::COUNTS;

use crate::{
    process::{Ended, Running, Signal},
    profile::Profile,
    sampling::Stolen,
};

/// Whether there is a binary to test and the right to load its kernel programs; skips if not.
pub fn is_ready() -> bool {
    if env::var_os("SPANPROF_BIN").is_none() {
        crate::skip("SPANPROF_BIN names no binary: run `cargo xtask test`");
        return false;
    }
    if !rustix::process::geteuid().is_root() {
        crate::skip("loading BPF programs needs root");
        return false;
    }
    true
}

/// The binary.
pub fn binary() -> PathBuf {
    env::var_os("SPANPROF_BIN")
        .expect("is_ready was asked")
        .into()
}

thread_local! {
    /// The folder of the locks of a test's agents, and how many it has had.
    static LOCKS: (TempDir, Cell<u32>) =
        (tempfile::tempdir().expect("a temporary folder"), Cell::new(0));
}

/// A file that no other agent locks, so that this one runs beside all others; removed with the test.
fn lock_file() -> PathBuf {
    LOCKS.with(|(folder, count)| {
        let number = count.get();
        count.set(number + 1);
        folder.path().join(number.to_string())
    })
}

/// A command of the binary, in an environment that sets only a separate lock.
pub fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in env::vars_os() {
        if name.to_string_lossy().starts_with("SPANPROF_") {
            command.env_remove(name);
        }
    }
    command.env("SPANPROF_LOCK_FILE", lock_file());
    command.args(arguments);
    command
}

/// A command started by another, whose last arguments it becomes; with an empty one it stays as it is.
pub fn behind(starter: &[&str], command: Command) -> Command {
    let Some((program, arguments)) = starter.split_first() else {
        return command;
    };
    let mut starting = Command::new(program);
    starting.args(arguments);
    starting.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => starting.env(name, value),
            None => starting.env_remove(name),
        };
    }
    starting
}

/// Runs the binary to its end.
pub fn run(arguments: &[&str]) -> Ended {
    Running::start(&mut command(arguments)).wait()
}

/// A running `spanprof record`.
#[derive(Debug)]
pub struct Recording {
    running: Running,
    stolen: Stolen,
    folder: TempDir,
}

/// The results of a recording.
#[derive(Debug)]
pub struct Recorded {
    /// The file.
    pub profile: Profile,
    /// Its path.
    pub path: PathBuf,
    /// How the command ended.
    pub ended: Ended,
    /// Seconds that the host has taken meanwhile.
    pub stolen: f64,
    /// Keeps the file.
    _folder: TempDir,
}

impl Recording {
    /// Starts one; returns when samples are taken. It lasts until it is stopped, so that the
    /// workload and not the time decides how long tests take.
    pub fn start(arguments: &[&str]) -> Self {
        Self::behind(&[], arguments)
    }

    /// The same, started by a command whose last arguments are the command of spanprof.
    pub fn behind(starter: &[&str], arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut command = command(&["--log", "info", "record", "--duration", "10m"]);
        command
            .arg("--output")
            .arg(folder.path().join("cpu.pb.gz"))
            .args(arguments);
        let running = Running::start(&mut behind(starter, command));
        let stolen = Stolen::from_now();
        running.stderr.wait_for("recording");
        Self {
            running,
            stolen,
            folder,
        }
    }

    /// The pid of the command.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Stops it as Ctrl-C would.
    pub fn stop(self) -> Recorded {
        self.running.signal(Signal::INT);
        self.end()
    }

    /// Waits until it ends by itself.
    pub fn end(self) -> Recorded {
        let ended = self.running.wait();
        assert!(ended.status.success(), "{ended:#?}");
        let path = self.folder.path().join("cpu.pb.gz");
        Recorded {
            profile: Profile::read(&path),
            path,
            ended,
            stolen: self.stolen.seconds(),
            _folder: self.folder,
        }
    }
}

impl Recorded {
    /// A count of the table that the command prints, all reasons together; 0 if it is not in the table.
    pub fn count(&self, name: &str) -> i64 {
        count(&self.ended.stdout, name)
    }

    /// The value of such a count with one reason.
    pub fn count_of(&self, name: &str, reason: &str) -> i64 {
        count_of(&self.ended.stdout, name, reason)
    }
}

/// A count of a table of counts, all its rows together; 0 if it is not in the table. Fails if there is no
/// count of that name.
pub fn count(table: &str, name: &str) -> i64 {
    let metric = COUNTS.iter().find(|metric| metric.name == name);
    let metric = metric.expect("it is in the table of what is counted");
    let rows = metric.rows.iter().map(|row| metric.row_name(row));
    rows.map(|row| row_count(table, &row)).sum()
}

/// The value of a count with one reason; 0 if it is not in the table. Fails if there is no such row.
pub fn count_of(table: &str, name: &str, reason: &str) -> i64 {
    let row = format!("{name}{{reason=\"{reason}\"}}");
    let mut rows = COUNTS
        .iter()
        .flat_map(|metric| metric.rows.iter().map(|row| metric.row_name(row)));
    assert!(rows.any(|it| it == row), "nothing is counted as {row}");
    row_count(table, &row)
}

fn row_count(table: &str, row: &str) -> i64 {
    let line = table.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let count = words.next()?;
        (words.next()? == row).then_some(count)
    });
    line.map_or(0, |count| count.parse().expect("a number"))
}

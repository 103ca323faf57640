//! The agent's CPU time for taking on new processes, and for having many of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::Bench;
use crate::report::{Figure, Report};
use crate::spanprof::Spanprof;
use crate::workload::Workload;
use xtask::command;

/// Samples a second, as a fleet would use.
const FREQUENCY: u32 = 19;
/// How long the cost of one process, or of none, is measured.
const WATCHED: Duration = Duration::from_secs(2);
/// Processes started one after another, with an interpreter that the agent has seen before.
const STARTED: u32 = 100;
/// Processes that start and end within ten seconds.
const MANY: u32 = 500;
const TEN_SECONDS: Duration = Duration::from_secs(10);
/// Children that a process forks in a second, as long as it is asked to. Each uses 3 ms of CPU.
const FORKED: u32 = 200;
/// Idle processes.
const IDLE: usize = 200;

pub(crate) fn measure(bench: &Bench) -> Result<Report> {
    let (python, _) = bench.python_with_peers()?;
    let folder = bench.workspace.target.join("bench");
    // No server listens there: the cost of an upload is measured by another benchmark.
    let agent = Spanprof::agent_at(&bench.agent, &folder, "http://127.0.0.1:1", FREQUENCY)?;
    let (mut new, mut seen) = (Vec::new(), Vec::new());
    let (mut many, mut idle) = (Vec::new(), Vec::new());
    let (mut forked, mut forks) = (Vec::new(), Vec::new());
    let mut forking = Workload::start(&python, &bench.program("forks.py"), &[], None)?;
    for _ in 0..bench.rounds(5, 1) {
        let nothing = used(&agent, || wait(WATCHED))?;
        let copy = Copied::new(&python)?;
        let one = used(&agent, || {
            let _process = copy.start(&["-S", "-c", WAITS])?;
            thread::sleep(WATCHED);
            Ok(())
        })?;
        new.push(1000.0 * (one - nothing).max(0.0));
        let pause = WATCHED / STARTED;
        let hundred = used(&agent, || {
            for _ in 0..STARTED {
                let mut process = copy.start(&["-S", "-c", "pass"])?;
                process.0.wait()?;
                thread::sleep(pause);
            }
            Ok(())
        })?;
        seen.push(1000.0 * hundred / f64::from(STARTED));
        many.push(used(&agent, || {
            let start = Instant::now();
            let mut running = Vec::new();
            for number in 0..MANY {
                running.push(copy.start(&["-S", "-c", "pass"])?);
                thread::sleep((TEN_SECONDS / MANY * number).saturating_sub(start.elapsed()));
            }
            Ok(())
        })?);
    }
    for _ in 0..bench.rounds(5, 1) {
        let mut answer = Value::Null;
        let start = Instant::now();
        let seconds = used(&agent, || {
            answer = forking.tell(&format!("{FORKED} {}", TEN_SECONDS.as_secs()))?;
            Ok(())
        })?;
        let took = start.elapsed().as_secs_f64();
        forked.push(100.0 * seconds / took);
        forks.push(answer.as_f64().context("the forks were not counted")? / took);
    }
    drop(forking);
    let _processes = (0..IDLE)
        .map(|_| Running::start(&mut Command::new(&python), &["-S", "-c", WAITS]))
        .collect::<Result<Vec<_>>>()?;
    thread::sleep(WATCHED);
    for _ in 0..bench.rounds(3, 1) {
        let core = used(&agent, || wait(TEN_SECONDS))?;
        idle.push(100.0 * core / TEN_SECONDS.as_secs_f64());
    }
    agent.stop()?;
    Ok(Report {
        name: "take-on",
        figures: vec![
            Figure::new("a process of a CPython never seen: CPU", "ms", new).below(200.0),
            Figure::new("a process of a CPython seen before: CPU", "ms", seen).below(20.0),
            Figure::new(
                format!("{MANY} Python processes in 10 s: CPU"),
                "core-seconds",
                many,
            )
            .below(1.0),
            Figure::new(
                format!("{FORKED} forked children in a second: CPU"),
                "% of a core",
                forked,
            )
            .below(2.0),
            Figure::new("  children in a second", "", forks),
            Figure::new(
                format!("{IDLE} idle Python processes: CPU"),
                "% of a core",
                idle,
            )
            .below(1.0),
        ],
        notes: vec![format!(
            "CPU time of `spanprof agent --frequency {FREQUENCY}`, including everything it did meanwhile; from the \
             first figure, the CPU of the same time without a new process is subtracted; a CPython never seen is a copy \
             of the interpreter's files, made for the round; processes are `python -S -c pass`, or wait for their input; forked \
             children use 3 ms of CPU each"
        )],
    })
}

const WAITS: &str = "import sys; sys.stdin.read()";

#[expect(
    clippy::unnecessary_wraps,
    reason = "one of the things that are done meanwhile"
)]
fn wait(duration: Duration) -> Result<()> {
    thread::sleep(duration);
    Ok(())
}

/// CPU seconds that the agent used while a function ran.
fn used(agent: &Spanprof, meanwhile: impl FnOnce() -> Result<()>) -> Result<f64> {
    let before = agent.cpu_seconds()?;
    meanwhile()?;
    Ok(agent.cpu_seconds()? - before)
}

/// A process, killed when dropped.
struct Running(Child);

impl Running {
    fn start(command: &mut Command, arguments: &[&str]) -> Result<Self> {
        let child = command
            .args(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start {command:?}"))?;
        Ok(Self(child))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A copy of an interpreter's files; removed when dropped.
struct Copied {
    folder: tempfile::TempDir,
    home: PathBuf,
}

impl Copied {
    fn new(python: &Path) -> Result<Self> {
        const QUESTION: &str = "import os, sys, sysconfig; get = sysconfig.get_config_var; \
            print(os.path.realpath(sys.executable)); print(sys.base_prefix); \
            print(os.path.join(get('LIBDIR') or '', get('INSTSONAME') or ''))";
        let answer = command::output(Command::new(python).args(["-c", QUESTION]))?;
        let mut lines = answer.lines().map(PathBuf::from);
        let mut line = || lines.next().context("the interpreter says too little");
        let (program, home, library) = (line()?, line()?, line()?);
        let folder = tempfile::tempdir().context("failed to create a temporary folder")?;
        fs::copy(&program, folder.path().join("python"))?;
        if library.is_file()
            && let Some(name) = library.file_name()
        {
            fs::copy(&library, folder.path().join(name))?;
        }
        Ok(Self { folder, home })
    }

    fn start(&self, arguments: &[&str]) -> Result<Running> {
        let mut command = Command::new(self.folder.path().join("python"));
        command
            .env("LD_LIBRARY_PATH", self.folder.path())
            .env("PYTHONHOME", &self.home);
        Running::start(&mut command, arguments)
    }
}

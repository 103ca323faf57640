//! Other profilers, attached to a process by their own instructions.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};

use crate::host;
use xtask::command;

/// How long a profiler may take to start sampling.
const WARM_UP: Duration = Duration::from_secs(2);

/// A profiler that samples a process from outside.
pub(crate) struct Peer {
    /// As tables name it, with its version.
    pub(crate) name: String,
    program: PathBuf,
    arguments: fn(u32, u32, &str) -> Vec<String>,
    /// Seconds that a line of its output stands for, at a frequency; `None` if it knows no Python
    /// functions.
    pub(crate) seconds: Option<Seconds>,
}

type Seconds = fn(&str, u32) -> Option<f64>;

/// A peer that samples; interrupted when dropped.
pub(crate) struct Sampling(Child);

impl Sampling {
    /// CPU time it has used so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        host::cpu_seconds(self.0.id())
    }
}

fn py_spy(pid: u32, frequency: u32, output: &str) -> Vec<String> {
    let (pid, rate) = (pid.to_string(), frequency.to_string());
    let words = [
        "record",
        "--pid",
        &pid,
        "--rate",
        &rate,
        "--duration",
        "3600",
    ];
    let format = ["--format", "raw", "--output", output];
    words
        .iter()
        .chain(&format)
        .map(ToString::to_string)
        .collect()
}

fn austin(pid: u32, frequency: u32, output: &str) -> Vec<String> {
    let interval = (1_000_000 / frequency).to_string();
    let pid = pid.to_string();
    let words = ["-i", &interval, "-o", output, "-p", &pid];
    words.iter().map(ToString::to_string).collect()
}

fn perf(pid: u32, frequency: u32, output: &str) -> Vec<String> {
    let (pid, rate) = (pid.to_string(), frequency.to_string());
    let words = [
        "record",
        "-g",
        "-e",
        "cpu-clock",
        "-F",
        &rate,
        "-p",
        &pid,
        "-o",
        output,
    ];
    words.iter().map(ToString::to_string).collect()
}

/// Folded stacks: `FRAMES COUNT`.
fn of_samples(line: &str, frequency: u32) -> Option<f64> {
    let samples: f64 = line.rsplit_once(' ')?.1.parse().ok()?;
    Some(samples / f64::from(frequency))
}

/// Austin's: `FRAMES MICROSECONDS`.
fn of_microseconds(line: &str, _frequency: u32) -> Option<f64> {
    let microseconds: f64 = line.rsplit_once(' ')?.1.parse().ok()?;
    Some(microseconds / 1e6)
}

/// A profiler that samples a process from within: `tests/benchmarks/in_process.py` starts it.
pub(crate) struct InProcess {
    /// As tables name it, with its version.
    pub(crate) name: String,
    sampler: &'static str,
}

/// The sampler that labels its samples with the span; the other does not, as the benchmark `truth` shows.
const SAMPLER_WITH_SPANS: &str = "PySpy";

impl InProcess {
    /// Both samplers of `pyroscope-io`; none if it cannot be installed.
    pub(crate) fn find(lacking: Option<&String>) -> Vec<Self> {
        let samplers = match lacking {
            None => [SAMPLER_WITH_SPANS, "Stack"].as_slice(),
            Some(_) => &[],
        };
        samplers
            .iter()
            .map(|sampler| Self {
                name: format!("pyroscope-io 1.4.0 ({sampler})"),
                sampler,
            })
            .collect()
    }

    /// Whether its samples are labelled with their span.
    pub(crate) fn knows_spans(&self) -> bool {
        self.sampler == SAMPLER_WITH_SPANS
    }

    /// The variables that a workload's environment must have.
    pub(crate) fn environment(&self, url: &str, frequency: u32) -> [(&'static str, String); 3] {
        [
            ("PEER_URL", url.to_owned()),
            ("PEER_SAMPLER", self.sampler.to_owned()),
            ("PEER_RATE", frequency.to_string()),
        ]
    }
}

/// The file that a peer writes its samples to.
pub(crate) fn output(folder: &Path) -> PathBuf {
    folder.join("peer.out")
}

/// The installed peers, and the reasons why others are left out.
pub(crate) fn find(python: &Path) -> (Vec<Peer>, Vec<String>) {
    let installed = |name: &str| Some(python.parent()?.join(name)).filter(|path| path.is_file());
    let mut peers = Vec::new();
    let mut lacking = Vec::new();
    let mut add = |name: &str, program: Option<PathBuf>, missing: &str, arguments, seconds| {
        let Some(program) = program else {
            lacking.push(format!("{name} is left out: {missing}"));
            return;
        };
        let version = command::probe(Command::new(&program).arg("--version"));
        let Some(version) = version else {
            lacking.push(format!("{name} is left out: it does not run here"));
            return;
        };
        peers.push(Peer {
            name: version.lines().next().unwrap_or(name).trim().to_lowercase(),
            program,
            arguments,
            seconds,
        });
    };
    let wheel = "its wheel cannot be installed";
    add(
        "py-spy record",
        installed("py-spy"),
        wheel,
        py_spy as fn(_, _, &str) -> _,
        Some(of_samples as Seconds),
    );
    let austin_is = installed("austin");
    add("austin", austin_is, wheel, austin, Some(of_microseconds));
    let debian = "there is no perf on the path (Debian: linux-perf)";
    add(
        "perf record -g",
        command::find_on_path("perf"),
        debian,
        perf,
        None,
    );
    (peers, lacking)
}

impl Peer {
    /// Attaches to a process, on the second CPU; returns after the time it needs to start.
    pub(crate) fn sample(&self, pid: u32, frequency: u32, folder: &Path) -> Result<Sampling> {
        let output = output(folder);
        let mut command = Command::new("taskset");
        command
            .args(["--cpu-list", "1"])
            .arg(&self.program)
            .args((self.arguments)(pid, frequency, &output.to_string_lossy()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command
            .spawn()
            .with_context(|| format!("failed to start {command:?}"))?;
        let mut sampling = Sampling(child);
        thread::sleep(WARM_UP);
        if let Some(status) = sampling.0.try_wait()? {
            bail!("{} ended with {status}", self.name);
        }
        Ok(sampling)
    }
}

impl Drop for Sampling {
    fn drop(&mut self) {
        // A peer that has ended by itself needs no signal.
        let _ = rustix::process::kill_process(Pid::from_child(&self.0), Signal::INT);
        let _ = self.0.wait();
    }
}

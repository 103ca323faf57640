//! The agent under measurement, and the kernel's data about it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal};

use crate::fdinfo::{self, Object};
use crate::host;
use crate::statistics::median;
use xtask::command::say;

/// How long the agent may take to load its programs.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// How long it may take to write its table.
const REPORT_DEADLINE: Duration = Duration::from_millis(500);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// `BPF_PROG_TYPE_KPROBE` and `BPF_PROG_TYPE_PERF_EVENT`, as fdinfo has them.
const UPROBE: u64 = 2;
const PERF_EVENT: u64 = 7;

/// A running agent; interrupted when dropped.
pub(crate) struct Spanprof {
    child: Child,
    output: std::path::PathBuf,
}

/// The kernel's counts for one kind of BPF program.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Runs {
    pub(crate) count: f64,
    pub(crate) nanoseconds: f64,
}

/// Memory, in MiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) resident: f64,
    pub(crate) proportional: f64,
    /// The memory that the kernel has charged for the BPF maps and programs.
    pub(crate) bpf: f64,
}

impl Spanprof {
    /// Records these processes, on the second CPU, until it is stopped.
    pub(crate) fn record(
        agent: &Path,
        folder: &Path,
        pids: &[u32],
        frequency: u32,
    ) -> Result<Self> {
        Self::record_with(agent, folder, pids, frequency, &[])
    }

    /// The same with more flags.
    pub(crate) fn record_with(
        agent: &Path,
        folder: &Path,
        pids: &[u32],
        frequency: u32,
        flags: &[&str],
    ) -> Result<Self> {
        Self::start(&mut Self::recording(agent, pids, frequency, flags), folder)
    }

    fn recording(agent: &Path, pids: &[u32], frequency: u32, flags: &[&str]) -> Command {
        let mut command = Command::new("taskset");
        command
            .args(["--cpu-list", "1"])
            .arg(agent)
            .args(["--log", "profiler::targets=debug,profiler::kernel=debug"])
            .args(["record", "--duration", "1h", "--frequency"])
            .arg(frequency.to_string())
            .args(flags);
        for pid in pids {
            command.args(["--pid", &pid.to_string()]);
        }
        command
    }

    /// Profiles the whole host as in production, at the given frequency, and pushes to `url`.
    pub(crate) fn agent_at(agent: &Path, folder: &Path, url: &str, frequency: u32) -> Result<Self> {
        Self::agent_with(agent, folder, url, frequency, &[])
    }

    /// The same with more flags.
    pub(crate) fn agent_with(
        agent: &Path,
        folder: &Path,
        url: &str,
        frequency: u32,
        flags: &[&str],
    ) -> Result<Self> {
        let mut command = Command::new(agent);
        command.args([
            "--log",
            "info",
            "agent",
            "--pyroscope-url",
            url,
            "--frequency",
        ]);
        // Another agent may be running on this host.
        command
            .arg(frequency.to_string())
            .arg("--lock-file")
            .arg(folder.join("agent.lock"))
            .args(flags);
        Self::start(&mut command, folder)
    }

    /// Starts recording, and returns at the first run of the sampling program.
    pub(crate) fn record_at_once(
        agent: &Path,
        folder: &Path,
        pids: &[u32],
        frequency: u32,
    ) -> Result<Self> {
        let mut command = Self::recording(agent, pids, frequency, &[]);
        let mut agent = Self::spawn(&mut command, folder)?;
        agent.wait_for_sample(Duration::from_millis(5))?;
        Ok(agent)
    }

    fn start(command: &mut Command, folder: &Path) -> Result<Self> {
        let mut agent = Self::spawn(command, folder)?;
        agent.wait_for_sample(POLL_INTERVAL)?;
        thread::sleep(Duration::from_millis(300));
        Ok(agent)
    }

    fn spawn(command: &mut Command, folder: &Path) -> Result<Self> {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("failed to create {}", folder.display()))?;
        let path = folder.join("agent.log");
        let log =
            File::create(&path).with_context(|| format!("failed to create {}", path.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stderr(log.try_clone().context("failed to share the log")?)
            .stdout(log)
            .spawn()
            .with_context(|| format!("failed to start {command:?}"))?;
        Ok(Self {
            child,
            output: path,
        })
    }

    fn wait_for_sample(&mut self, poll: Duration) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < START_DEADLINE {
            if let Some(status) = self.child.try_wait()? {
                bail!("the agent ended with {status}: {}", self.said()?);
            }
            // Right after the start the process has not executed the agent yet, and has nothing open.
            if self.runs(PERF_EVENT).is_ok_and(|runs| runs.count > 0.0) {
                return Ok(());
            }
            thread::sleep(poll);
        }
        bail!("the agent takes no samples: {}", self.said()?)
    }

    /// Nanoseconds of a run of the sampling program: the median of the means of many short slices. If the virtual
    /// machine is paused for a millisecond, that spoils one slice and not the result.
    pub(crate) fn sample_nanoseconds(&self, duration: Duration) -> Result<f64> {
        let start = Instant::now();
        let mut before = self.sample_runs()?;
        let mut means = Vec::new();
        while start.elapsed() < duration {
            thread::sleep(POLL_INTERVAL);
            let after = self.sample_runs()?;
            let count = after.count - before.count;
            if count > 0.0 {
                means.push((after.nanoseconds - before.nanoseconds) / count);
            }
            before = after;
        }
        Ok(median(&means))
    }

    /// Runs of the sampling program.
    pub(crate) fn sample_runs(&self) -> Result<Runs> {
        self.runs(PERF_EVENT)
    }

    /// Runs of both span programs.
    pub(crate) fn span_runs(&self) -> Result<Runs> {
        self.runs(UPROBE)
    }

    fn runs(&self, kind: u64) -> Result<Runs> {
        let mut runs = Runs::default();
        for object in self.objects()?.values() {
            let field = |name: &str| object.get(name).copied().unwrap_or(0.0);
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            let wanted = kind as f64;
            if object.get("prog_type") == Some(&wanted) {
                runs.count += field("run_cnt");
                runs.nanoseconds += field("run_time_ns");
            }
        }
        Ok(runs)
    }

    fn objects(&self) -> Result<BTreeMap<String, Object>> {
        fdinfo::bpf_objects(self.child.id())
    }

    /// CPU time of the agent's threads so far, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        host::cpu_seconds(self.child.id())
    }

    pub(crate) fn memory(&self) -> Result<Memory> {
        let [resident, proportional] = host::memory(self.child.id())?;
        let charged: f64 = self
            .objects()?
            .values()
            .filter_map(|object| object.get("memlock"))
            .sum();
        Ok(Memory {
            resident,
            proportional,
            bpf: charged / 1024.0 / 1024.0,
        })
    }

    /// How long the agent took to find out how to read a current span, in milliseconds, one value per attempt.
    pub(crate) fn looks(&self) -> Result<Vec<f64>> {
        self.milliseconds("took_us=")
    }

    /// How long the kernel took to verify and compile each program, in milliseconds.
    pub(crate) fn verifications(&self) -> Result<Vec<f64>> {
        let took = self.milliseconds("verified_us=")?;
        if took.is_empty() {
            bail!("the agent's log says of no program how long the verifier took");
        }
        Ok(took)
    }

    /// The values of a field of the log.
    fn milliseconds(&self, field: &str) -> Result<Vec<f64>> {
        let text = self.said()?;
        let took = text.split_ascii_whitespace().filter_map(|word| {
            let microseconds: f64 = word.strip_prefix(field)?.parse().ok()?;
            Some(microseconds / 1000.0)
        });
        Ok(took.collect())
    }

    /// Instructions that the verifier has followed for the largest program.
    pub(crate) fn verified_instructions(&self) -> Result<f64> {
        let objects = self.objects()?;
        let programs = objects
            .values()
            .filter_map(|object| object.get("verified_insns"));
        Ok(programs.copied().fold(0.0, f64::max))
    }

    /// Stops it; returns its counts by name.
    pub(crate) fn stop(self) -> Result<BTreeMap<String, f64>> {
        Ok(self.stop_and_count(&[])?.0)
    }

    /// Stops it; returns its counts by name, and how many samples of these processes are in the profile.
    pub(crate) fn stop_and_count(mut self, pids: &[u32]) -> Result<(BTreeMap<String, f64>, f64)> {
        self.interrupt()?;
        self.counted(pids)
    }

    /// Asks it for its counts so far, by name.
    pub(crate) fn report(&self) -> Result<BTreeMap<String, f64>> {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::USR1)?;
        thread::sleep(REPORT_DEADLINE);
        Ok(self.counted(&[])?.0)
    }

    /// The counts of its last table, and how many samples of these processes are in the profile.
    fn counted(&self, pids: &[u32]) -> Result<(BTreeMap<String, f64>, f64)> {
        let text = self.said()?;
        let mut counters = BTreeMap::new();
        let mut samples = 0.0;
        for line in text.lines() {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let [number, name, rest @ ..] = words.as_slice() else {
                continue;
            };
            let Ok(count) = number.parse::<f64>() else {
                continue;
            };
            // The table of processes begins with pid, service and samples.
            if let Ok(pid) = number.parse()
                && pids.contains(&pid)
            {
                let in_profile = rest.first().and_then(|word| word.parse::<f64>().ok());
                samples += in_profile.unwrap_or(0.0);
            } else {
                counters.insert((*name).to_owned(), count);
            }
        }
        Ok((counters, samples))
    }

    fn interrupt(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            rustix::process::kill_process(Pid::from_child(&self.child), Signal::INT)?;
            self.child.wait()?;
        }
        Ok(())
    }

    fn said(&self) -> Result<String> {
        let mut text = String::new();
        File::open(&self.output)
            .and_then(|mut log| log.read_to_string(&mut text))
            .with_context(|| format!("failed to read {}", self.output.display()))?;
        Ok(text)
    }
}

impl Drop for Spanprof {
    fn drop(&mut self) {
        if let Err(error) = self.interrupt() {
            say(&format!("failed to stop the agent: {error:#}"));
        }
    }
}

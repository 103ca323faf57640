//! The exporting process.

use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tests::pretend_pyroscope::PretendPyroscope;

use super::number;
use crate::host;
use crate::workload::Workload;

/// Rows of a profile: just under 30 KB before compression.
pub(super) const ROWS: u32 = 330;
/// How long it may take until no profile waits.
const DEADLINE: Duration = Duration::from_secs(180);

/// A process that exports made-up profiles of a number of services; it is ended when dropped.
pub(super) struct Exporter {
    process: Workload,
    services: u32,
    windows: u32,
}

/// The exporter's account of its profiles.
#[derive(Clone, Copy, Debug)]
pub(super) struct Account {
    /// How many wait or are being sent.
    pub(super) waiting: f64,
    /// How many it has lost.
    pub(super) lost: f64,
}

impl Exporter {
    pub(super) fn start(
        program: &Path,
        server: &PretendPyroscope,
        services: u32,
        ca_file: Option<&Path>,
    ) -> Result<Self> {
        let mut command = Command::new(program);
        command
            .arg(server.url())
            .args([services, ROWS].map(|number| number.to_string()))
            .args(ca_file);
        Ok(Self {
            process: Workload::run(&mut command)?,
            services,
            windows: 0,
        })
    }

    /// Ends a window that counts as older by `age`; returns the account just before.
    pub(super) fn window(&mut self, age: Duration) -> Result<Account> {
        self.windows += 1;
        self.tell(&format!("window {}", age.as_millis()))
    }

    /// The current account.
    pub(super) fn account(&mut self) -> Result<Account> {
        self.tell("account")
    }

    fn tell(&mut self, line: &str) -> Result<Account> {
        let answer = self.process.tell(line)?;
        let field = |name: &str| {
            let value = answer.get(name).and_then(Value::as_f64);
            value.with_context(|| format!("the exporter does not say {name}: {answer}"))
        };
        Ok(Account {
            waiting: field("waiting")?,
            lost: field("lost")?,
        })
    }

    /// Waits until no profile waits.
    pub(super) fn settle(&mut self) -> Result<Account> {
        let start = Instant::now();
        loop {
            let account = self.account()?;
            if account.waiting == 0.0 {
                return Ok(account);
            }
            if start.elapsed() > DEADLINE {
                bail!("{} profiles still wait", account.waiting);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Profiles that were handed in.
    pub(super) fn profiles(&self) -> f64 {
        f64::from(self.windows) * f64::from(self.services)
    }

    /// Profiles that the server has not kept, when no profile waits.
    pub(super) fn missing(&self, server: &PretendPyroscope) -> f64 {
        self.profiles() - number(server.kept_samples()) / f64::from(ROWS)
    }

    /// CPU time of the exporting threads, in seconds, without the main thread, which makes profiles up.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        host::cpu_seconds_of(self.process.id(), |name| name.starts_with("spanprof-"))
    }

    /// Resident memory, in MiB.
    pub(super) fn resident(&self) -> Result<f64> {
        let [resident, _] = host::memory(self.process.id())?;
        Ok(resident)
    }
}

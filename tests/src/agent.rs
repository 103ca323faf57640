//! Runs `spanprof agent` against a pretend Pyroscope.

#![expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "a test cannot go on without its agent"
)]

use std::process::Command;

use crate::{
    pretend_pyroscope::{PretendPyroscope, StoredSample},
    process::{Ended, Running, Signal, eventually},
    spanprof,
};

/// A running agent, and the server it pushes to.
#[derive(Debug)]
pub struct Agent {
    /// The server.
    pub server: PretendPyroscope,
    running: Running,
}

impl Agent {
    /// Starts one with short windows; returns when it takes samples.
    pub fn start(arguments: &[&str]) -> Self {
        Self::with(PretendPyroscope::start(), arguments)
    }

    /// The same with a server that was told to misbehave.
    pub fn with(server: PretendPyroscope, arguments: &[&str]) -> Self {
        let url = server.url();
        let mut command = command(&["--frequency", "199", "--pyroscope-url", &url]);
        command.args(["--upload-interval", "1s"]).args(arguments);
        Self::run(server, &mut command)
    }

    /// Starts a command that is an agent.
    pub fn run(server: PretendPyroscope, command: &mut Command) -> Self {
        let running = Running::start(command);
        running.stderr.wait_for("profiling");
        Self { server, running }
    }

    /// What it has written on stderr so far.
    pub fn said(&self) -> String {
        self.running.stderr.so_far()
    }

    /// Waits for a line on stderr.
    pub fn wait_for(&self, needle: &str) -> String {
        self.running.stderr.wait_for(needle)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Waits until the server has a profile of a service.
    pub fn wait_for_service(&self, name: &str) {
        eventually(&format!("a profile of {name}"), || {
            (self.server.total(name) > 0).then_some(())
        });
    }

    /// Stops it as systemd and Kubernetes do.
    pub fn stop(self) -> (PretendPyroscope, Ended) {
        self.signal(Signal::TERM);
        (self.server, self.running.wait())
    }
}

/// A command that is an agent and says what it does.
pub fn command(arguments: &[&str]) -> Command {
    let mut all = vec!["--log", "info", "agent"];
    all.extend(arguments);
    spanprof::command(&all)
}

/// All samples that a server has of a service.
pub fn samples(server: &PretendPyroscope, service: &str) -> Vec<StoredSample> {
    let profiles = server.profiles().into_iter();
    profiles
        .filter(|it| it.label("service_name") == Some(service))
        .flat_map(|it| it.samples)
        .collect()
}

/// CPU time in a function, in nanoseconds.
pub fn time_in(samples: &[StoredSample], function: &str) -> i64 {
    let is_in = |sample: &&StoredSample| sample.stack.iter().any(|frame| frame == function);
    samples
        .iter()
        .filter(is_in)
        .map(|sample| sample.value)
        .sum()
}

/// A count of the table of losses that the agent has printed last.
pub fn counted(said: &str, name: &str) -> i64 {
    let from = said.rfind("what was counted").expect("a table of losses");
    spanprof::count(said.get(from..).unwrap_or_default(), name)
}

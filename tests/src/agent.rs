//! Runs `spanprof agent` against a pretend Pyroscope.

#![expect(clippy::expect_used, reason = "a test cannot go on without its agent")]

use std::{collections::BTreeMap, io::Read as _, process::Command};

use flate2::read::GzDecoder;
use profiler::profile;
use prost::Message as _;

use crate::{
    pretend_pyroscope::{PretendPyroscope, StoredSample},
    process::{Ended, Running, Signal, eventually},
    sampling::{self, Stolen},
    spanprof,
};

/// Samples a second and processor, of an agent with short windows.
const FREQUENCY: f64 = 199.0;

/// A running agent, and the server it pushes to.
#[derive(Debug)]
pub struct Agent {
    /// The server.
    pub server: PretendPyroscope,
    /// From when on it takes samples.
    pub since: Stolen,
    running: Running,
}

impl Agent {
    /// Starts one with short windows; returns when it takes samples.
    pub fn start(arguments: &[&str]) -> Self {
        Self::with(PretendPyroscope::start(), arguments)
    }

    /// The same with a server that misbehaves.
    pub fn with(server: PretendPyroscope, arguments: &[&str]) -> Self {
        let url = server.url();
        let frequency = FREQUENCY.to_string();
        let mut command = command(&["--frequency", &frequency, "--pyroscope-url", &url]);
        command.args(["--upload-interval", "1s"]).args(arguments);
        Self::run(server, &mut command)
    }

    /// Starts a command that is an agent.
    pub fn run(server: PretendPyroscope, command: &mut Command) -> Self {
        let running = Running::start(command);
        running.stderr.wait_for("profiling");
        Self {
            server,
            since: Stolen::from_now(),
            running,
        }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.running.pid()
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

    /// Stops it as systemd and Kubernetes do. In every test, the fate of each profile must be
    /// counted.
    pub fn stop(self) -> (PretendPyroscope, Ended) {
        self.signal(Signal::TERM);
        let ended = self.running.wait();
        if ended.status.success() {
            adds_up(&self.server, &ended.stderr);
        }
        (self.server, ended)
    }
}

/// Every profile that was encoded was stored, refused or dropped, and is counted so; and the server
/// has kept all that it has confirmed.
fn adds_up(server: &PretendPyroscope, said: &str) {
    let count = |name| counted(said, name);
    let lost: i64 = ["profiles_refused", "profiles_dropped"]
        .into_iter()
        .map(count)
        .sum();
    let (encoded, stored) = (count("profiles_encoded"), count("profiles_stored"));
    assert_eq!(encoded, stored + lost, "{said}");
    // Each of them once, however often it was sent.
    let mut sent = BTreeMap::new();
    for sample in server
        .pushes()
        .into_iter()
        .filter_map(|push| push.request)
        .flat_map(|request| request.series)
        .flat_map(|series| series.samples)
    {
        sent.insert(sample.id, cpu(&sample.raw_profile));
    }
    let sent: i64 = sent.into_values().sum();
    let kept = server
        .kept()
        .into_iter()
        .flat_map(|profile| profile.samples);
    let kept: i64 = kept.map(|sample| sample.value).sum();
    assert!(kept <= sent, "{kept} of {sent}: {said}");
    assert!(kept == sent || lost > 0, "{kept} of {sent}: {said}");
}

/// CPU time of a gzipped profile, in nanoseconds.
fn cpu(pprof: &[u8]) -> i64 {
    let mut plain = Vec::new();
    let mut decoder = GzDecoder::new(pprof);
    decoder.read_to_end(&mut plain).expect("it is gzipped");
    let profile = profile::proto::Profile::decode(plain.as_slice()).expect("a profile");
    let samples = profile.sample.iter();
    samples.flat_map(|sample| &sample.value).sum()
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

/// The least time that an agent with short windows samples of so many seconds of CPU time, in seconds.
pub fn at_least(seconds: f64, since: Stolen) -> f64 {
    sampling::at_least(seconds, FREQUENCY, since.seconds()) / FREQUENCY
}

/// The most time that it samples of them.
pub fn at_most(seconds: f64) -> f64 {
    sampling::at_most(seconds, FREQUENCY) / FREQUENCY
}

/// Nanoseconds as seconds.
#[expect(clippy::cast_precision_loss, reason = "seconds")]
pub fn seconds(nanoseconds: i64) -> f64 {
    nanoseconds as f64 / 1e9
}

/// A count of the table that the agent has printed last, all reasons together.
pub fn counted(said: &str, name: &str) -> i64 {
    spanprof::count(last_table(said), name)
}

/// The value of such a count with one reason.
pub fn counted_of(said: &str, name: &str, reason: &str) -> i64 {
    spanprof::count_of(last_table(said), name, reason)
}

fn last_table(said: &str) -> &str {
    let from = said.rfind("what was counted").expect("a table of losses");
    said.get(from..).unwrap_or_default()
}

//! Interpreters, and the workloads in `tests/programs`.
//!
//! `SPANPROF_VENVS` names an interpreter per version, each in a virtual environment with the package
//! and `tests/requirements.txt`: `3.10=/path/to/bin/python:3.11=…`. `cargo xtask test` makes them.

#![expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "a test cannot go on without its workload"
)]

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{process::Running, spanprof};

/// An interpreter in a virtual environment.
#[derive(Clone, Debug)]
pub struct Python {
    /// Major and minor version.
    pub version: String,
    /// The interpreter.
    pub path: PathBuf,
}

/// Makes tests of a function that takes a [`Python`]: a module of its name with a test for each
/// version that is supported.
#[macro_export]
macro_rules! on_every_python {
    ($($name:ident),* $(,)?) => {
        $(mod $name {
            #[test]
            fn python_3_10() {
                $crate::python::with("3.10", super::$name);
            }
            #[test]
            fn python_3_11() {
                $crate::python::with("3.11", super::$name);
            }
            #[test]
            fn python_3_12() {
                $crate::python::with("3.12", super::$name);
            }
            #[test]
            fn python_3_13() {
                $crate::python::with("3.13", super::$name);
            }
        })*
    };
}

/// Runs a test on one version, if profiling can be tested at all.
pub fn with(version: &str, test: impl FnOnce(&Python)) {
    if !spanprof::is_ready() {
        return;
    }
    match all().into_iter().find(|python| python.version == version) {
        Some(python) => test(&python),
        None => crate::skip(&format!("no CPython {version} in SPANPROF_VENVS")),
    }
}

/// Runs a test on the newest version there is.
pub fn with_newest(test: impl FnOnce(&Python)) {
    if !spanprof::is_ready() {
        return;
    }
    match all().pop() {
        Some(python) => test(&python),
        None => crate::skip("no CPython in SPANPROF_VENVS"),
    }
}

/// Every interpreter of `SPANPROF_VENVS`, in its order: oldest first.
pub fn all() -> Vec<Python> {
    listed("SPANPROF_VENVS")
}

/// An interpreter for every earlier release of OpenTelemetry, under the release's version; they have no
/// other package. `SPANPROF_RELEASES` lists them as `SPANPROF_VENVS` does.
pub fn releases() -> Vec<Python> {
    listed_or_skip("OpenTelemetry", "SPANPROF_RELEASES")
}

/// The same for releases of Logfire, each with the package: `SPANPROF_LOGFIRES` lists them.
pub fn logfires() -> Vec<Python> {
    listed_or_skip("Logfire", "SPANPROF_LOGFIRES")
}

/// Those that a variable lists, if profiling can be tested at all. `what` is said to be missing if there are none.
fn listed_or_skip(what: &str, variable: &str) -> Vec<Python> {
    if !spanprof::is_ready() {
        return Vec::new();
    }
    let listed = listed(variable);
    if listed.is_empty() {
        crate::skip(&format!("no {what} in {variable}"));
    }
    listed
}

fn listed(variable: &str) -> Vec<Python> {
    let venvs = env::var(variable).unwrap_or_default();
    let pair = |entry: &str| {
        let (version, path) = entry.split_once('=')?;
        Some(Python {
            version: version.to_owned(),
            path: PathBuf::from(path),
        })
    };
    venvs.split(':').filter_map(pair).collect()
}

/// Removes from a command's environment the caller's variables for Python and OpenTelemetry.
pub fn forget_the_caller(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("OTEL_") || text.starts_with("PYTHON") {
            command.env_remove(&name);
        }
    }
}

/// A file of `tests/programs`.
pub fn program(name: &str) -> PathBuf {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").expect("cargo or xtask sets it");
    Path::new(&manifest).join("programs").join(name)
}

impl Python {
    /// A command of this interpreter, in an environment that says nothing of services.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        forget_the_caller(&mut command);
        command
            .env("PYTHONPATH", program(""))
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// A command that runs a program of the folder.
    pub fn program(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = self.command();
        command.arg(program(name)).args(arguments);
        command
    }

    /// Starts a workload; returns when it waits for the word to begin.
    pub fn start(&self, name: &str, arguments: &[&str]) -> Workload {
        Workload::start(&mut self.program(name, arguments))
    }
}

impl Workload {
    /// Starts a command that is a workload; returns when it waits for the word to begin.
    pub fn start(command: &mut Command) -> Self {
        let running = Running::start(command);
        let is_ready = running.stdout.has("\"ready\"");
        assert!(is_ready, "{command:?}: {:#?}", running.wait());
        Self { running }
    }
}

/// A running program that speaks as `tests/programs/workload.py` says.
#[derive(Debug)]
pub struct Workload {
    /// The process.
    pub running: Running,
}

impl Workload {
    /// Its pid, as an argument.
    pub fn pid(&self) -> String {
        self.running.pid().to_string()
    }

    /// Tells it to begin.
    pub fn begin(&mut self) {
        self.running.send_line("begin");
    }

    /// Waits until it has done its work; returns what it says.
    pub fn facts(&self, key: &str) -> Value {
        let line = self.running.stdout.wait_for(&format!("\"{key}\""));
        serde_json::from_str(&line).expect("workloads write JSON")
    }
}

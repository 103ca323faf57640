//! A program to be profiled or measured, which answers on its pipes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use xtask::command::say;

/// A program, such as those of `tests/benchmarks`; it is ended when dropped.
pub(crate) struct Workload {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Workload {
    /// Starts the program, on one CPU if one is given, and waits until it is ready.
    pub(crate) fn start(
        python: &Path,
        program: &Path,
        arguments: &[&str],
        cpu: Option<usize>,
    ) -> Result<Self> {
        Self::start_in(&[], python, program, arguments, cpu)
    }

    /// The same with variables in its environment.
    pub(crate) fn start_in(
        environment: &[(&str, String)],
        python: &Path,
        program: &Path,
        arguments: &[&str],
        cpu: Option<usize>,
    ) -> Result<Self> {
        let mut command = match cpu {
            None => Command::new(python),
            Some(cpu) => {
                let mut command = Command::new("taskset");
                command.args(["--cpu-list", &cpu.to_string()]).arg(python);
                command
            }
        };
        command
            .arg(program)
            .args(arguments)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .envs(environment.iter().map(|(name, value)| (name, value)));
        Self::run(&mut command)
    }

    /// Starts a command, and waits until it is ready.
    pub(crate) fn run(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("failed to start {command:?}"))?;
        let input = child.stdin.take();
        let output = child.stdout.take().context("the program has no stdout")?;
        let mut workload = Self {
            child,
            input,
            output: BufReader::new(output),
        };
        let said = workload.line()?;
        if said.trim() != "ready" {
            bail!("{command:?} is not ready, it says: {said}");
        }
        Ok(workload)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Asks for a number of rounds; returns what it measured.
    pub(crate) fn ask(&mut self, rounds: usize) -> Result<Value> {
        self.tell(&rounds.to_string())
    }

    /// Sends it a line; returns its answer.
    pub(crate) fn tell(&mut self, line: &str) -> Result<Value> {
        let input = self.input.as_mut().context("the program is ending")?;
        writeln!(input, "{line}").context("the program reads no more")?;
        let line = self.line()?;
        serde_json::from_str(&line).with_context(|| format!("the program says: {line}"))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.output
            .read_line(&mut line)
            .context("failed to read what the program says")?;
        Ok(line)
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        // With its stdin closed it ends by itself.
        drop(self.input.take());
        if let Err(error) = self.child.wait() {
            say(&format!("failed to wait for a workload: {error}"));
        }
    }
}

/// The numbers of a JSON list.
pub(crate) fn numbers(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .map(|list| list.iter().filter_map(Value::as_f64).collect())
        .unwrap_or_default()
}

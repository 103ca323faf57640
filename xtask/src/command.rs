//! Running other programs: each failure names the command that failed.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

/// Tells the user what is being done, on stderr: stdout is for results.
pub(crate) fn say(message: &str) {
    eprintln!("xtask: {message}");
}

/// Runs `command` to its end; anything but success is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("failed to start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}

/// What `command` wrote on stdout; its stderr goes to the user.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("failed to start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} ended with {}", output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{command:?} wrote no UTF-8"))
}

/// What `command` wrote on stdout, or nothing if it cannot be run or fails: for questions whose
/// failure is an answer.
pub(crate) fn probe(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The first file called `name` in the folders of `PATH`.
pub(crate) fn find_on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Are we root?
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Is this a CI run, where a missing tool or privilege is a failure and not a skip?
pub(crate) fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false" && value != "0")
}

/// `program` as root: as it is when we are, else through sudo with `environment` kept.
///
/// The variables are passed as arguments of `env`, because sudo drops the environment.
pub(crate) fn privileged(
    program: &Path,
    environment: &[(&str, &OsStr)],
    reason: &str,
) -> Result<Command> {
    let mut command;
    if is_root() {
        command = Command::new(program);
        command.envs(environment.iter().copied());
        return Ok(command);
    }
    let Some(sudo) = find_on_path("sudo") else {
        bail!("{reason} needs root, and there is no sudo: run this command as root");
    };
    say(&format!("{reason} needs root: asking sudo"));
    command = Command::new(sudo);
    command.arg("env");
    for (name, value) in environment {
        let mut pair = std::ffi::OsString::from(name);
        pair.push("=");
        pair.push(value);
        command.arg(pair);
    }
    command.arg(program);
    Ok(command)
}

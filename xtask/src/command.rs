//! Running other programs: each failure names the command that failed.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
pub use launcher::command::{
    ADMINISTRATORS, find_for_root, find_on_path, is_ci, is_root, probe, say,
};

/// A command as a user would type it, without the environment variables that are set for it.
pub fn line(command: &Command) -> String {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    words.map(quoted).collect::<Vec<_>>().join(" ")
}

/// A word as a shell reads it: quoted if it has to be.
pub fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let is_plain = |letter: char| letter.is_alphanumeric() || "/._-+=:,@%".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Runs `command` to its end; anything but success is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("failed to start {}", line(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", line(command));
    }
    Ok(())
}

/// What `command` wrote on stdout; its stderr goes to the user.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("failed to start {}", line(command)))?;
    if !output.status.success() {
        bail!("{} ended with {}", line(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} wrote no UTF-8", line(command)))
}

/// `program` as root: directly if this process is root, else through sudo with `environment` kept.
///
/// The variables are passed as arguments of `env`, because sudo drops the environment.
pub fn privileged(program: &Path, environment: &[(&str, &OsStr)], reason: &str) -> Result<Command> {
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

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::line;

    /// A command can be copied into a shell, whatever characters its words contain.
    #[test]
    fn lines_are_for_shells() {
        let mut command = Command::new("/sp ace/spanprof");
        command.args(["--duration", "10s", "it's", ""]);
        assert_eq!(
            line(&command),
            r"'/sp ace/spanprof' --duration 10s 'it'\''s' ''"
        );
    }
}

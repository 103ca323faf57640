//! Builds the agent with the BPF programs in it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::command;
use crate::workspace::Workspace;

/// Build the agent, the program `spanprof`
///
/// Prints its path. Installs what is missing first: the BPF toolchain and bpf-linker only if the kernel
/// programs differ from the prebuilt object.
#[derive(clap::Args, Debug)]
pub struct Arguments {
    /// Build optimised, as it is released: about two minutes
    #[arg(long)]
    release: bool,
}

/// The profile of the demo and the tests: fast enough to profile a host with, and compiled in half the
/// time of a release.
pub const QUICK: &str = launcher::preflight::PROFILE;

/// Runs the subcommand.
///
/// # Errors
/// A missing tool cannot be installed, or the agent does not compile.
pub fn run(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::locate()?;
    let profile = if arguments.release { "release" } else { "dev" };
    println!("{}", agent(&workspace, profile)?.display());
    Ok(())
}

/// Builds the agent in a profile of cargo's and returns its path.
///
/// # Errors
/// As [`run`].
pub fn agent(workspace: &Workspace, profile: &str) -> Result<PathBuf> {
    let mut cargo = workspace.cargo_with_programs()?;
    cargo.args([
        "build",
        "--package",
        "profiler",
        "--bin",
        "spanprof",
        "--profile",
        profile,
    ]);
    let agent = artifacts(&mut cargo)?.into_iter().next_back();
    Ok(agent.context("cargo built no spanprof")?.program)
}

/// Builds a benchmark of a package in the release profile and returns the path of its program.
///
/// # Errors
/// As [`run`].
pub fn benchmark(workspace: &Workspace, package: &str, name: &str) -> Result<PathBuf> {
    let mut cargo = workspace.cargo_with_programs()?;
    cargo.args(["bench", "--no-run", "--package", package, "--bench", name]);
    let is_it = |artifact: &Artifact| {
        let target = |key: &str| artifact.message.pointer(key).and_then(Value::as_str);
        target("/target/kind/0") == Some("bench") && target("/target/name") == Some(name)
    };
    // Cargo builds the package's other programs along with it.
    let found = artifacts(&mut cargo)?.into_iter().find(is_it);
    Ok(found
        .with_context(|| format!("cargo built no benchmark {name}"))?
        .program)
}

/// A program that cargo has built.
pub(crate) struct Artifact {
    /// Cargo's message about it (<https://doc.rust-lang.org/cargo/reference/external-tools.html>).
    pub(crate) message: Value,
    /// Its path.
    pub(crate) program: PathBuf,
}

/// Runs a cargo command that builds and shows its progress; returns the programs that cargo reports as built.
pub(crate) fn artifacts(cargo: &mut Command) -> Result<Vec<Artifact>> {
    let messages = command::output(cargo.args(["--message-format", "json-render-diagnostics"]))?;
    Ok(messages.lines().filter_map(artifact).collect())
}

/// The program that a line of cargo's messages announces, if it does.
fn artifact(message: &str) -> Option<Artifact> {
    let message: Value = serde_json::from_str(message).ok()?;
    let program = PathBuf::from(message.get("executable")?.as_str()?);
    Some(Artifact { message, program })
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::artifact;

    /// Cargo's messages about programs are read; those about other artefacts are ignored.
    #[test]
    fn programs_are_found() {
        let message =
            r#"{"reason":"compiler-artifact","profile":{"test":true},"executable":"/t/x-1"}"#;
        assert_eq!(artifact(message).unwrap().program, PathBuf::from("/t/x-1"));
        let message = r#"{"reason":"compiler-artifact","executable":null}"#;
        assert!(artifact(message).is_none());
        assert!(artifact("   Compiling tests").is_none());
    }
}

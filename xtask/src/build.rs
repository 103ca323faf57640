//! Builds the agent with the BPF programs in it.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use cargo_metadata::{Artifact, Message};

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
    Ok(agent.context("cargo built no spanprof")?.1)
}

/// Builds a benchmark of a package in the release profile and returns the path of its program.
///
/// # Errors
/// As [`run`].
pub fn benchmark(workspace: &Workspace, package: &str, name: &str) -> Result<PathBuf> {
    let mut cargo = workspace.cargo_with_programs()?;
    cargo.args(["bench", "--no-run", "--package", package, "--bench", name]);
    let is_it = |artifact: &Artifact| artifact.target.is_bench() && artifact.target.name == name;
    // Cargo builds the package's other programs along with it.
    let mut built = artifacts(&mut cargo)?.into_iter();
    let found = built.find(|(artifact, _)| is_it(artifact));
    Ok(found
        .with_context(|| format!("cargo built no benchmark {name}"))?
        .1)
}

/// Runs a cargo command that builds and shows its progress; returns the programs that cargo reports as built, with
/// their paths.
pub(crate) fn artifacts(cargo: &mut Command) -> Result<Vec<(Artifact, PathBuf)>> {
    let messages = command::output(cargo.args(["--message-format", "json-render-diagnostics"]))?;
    let mut programs = Vec::new();
    for message in Message::parse_stream(messages.as_bytes()) {
        let message = message.context("failed to read what cargo wrote")?;
        if let Message::CompilerArtifact(artifact) = message
            && let Some(program) = artifact.executable.clone()
        {
            programs.push((artifact, program.into_std_path_buf()));
        }
    }
    Ok(programs)
}

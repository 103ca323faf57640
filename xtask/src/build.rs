//! Builds the agent with the BPF programs in it.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::command;
use crate::toolchain;
use crate::workspace::Workspace;

/// Build the agent, the program `spanprof`.
///
/// Installs the toolchains and bpf-linker first, if they are missing.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build optimised, as it is released
    #[arg(long)]
    release: bool,
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::locate()?;
    toolchain::ensure_build(&workspace)?;
    if arguments.release {
        println!("{}", agent(&workspace)?.display());
        return Ok(());
    }
    command::run(workspace.cargo()?.args(["build", "--package", "profiler"]))?;
    println!("{}", workspace.target.join("debug/spanprof").display());
    Ok(())
}

/// Builds the agent for release and returns its path; the toolchains must be there.
pub(crate) fn agent(workspace: &Workspace) -> Result<PathBuf> {
    command::run(
        workspace
            .cargo()?
            .args(["build", "--package", "profiler", "--release"]),
    )?;
    let agent = workspace.agent();
    if !agent.is_file() {
        bail!("cargo built no {}", agent.display());
    }
    Ok(agent)
}

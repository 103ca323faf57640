//! Man pages and completions, from what the agent itself knows of its command line.
//!
//! They are made here, so that the agent carries none of it.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{folders, release::Release};

// The room knows no other room, so it is whole without the agent.
#[path = "../../../profiler/src/cli.rs"]
#[allow(
    dead_code,
    clippy::struct_field_names,
    unreachable_pub,
    reason = "the agent reads what was typed, and is a library"
)]
mod cli;

/// Writes `man/*.1` and `completions/*`.
pub(crate) fn write(folder: &Path, release: &Release) -> Result<()> {
    let man = folder.join("man");
    folders::create(&man)?;
    let command = cli::Cli::command().version(release.version);
    clap_mangen::generate_to(command.clone(), &man).context("failed to write man pages")?;
    let completions = folder.join("completions");
    folders::create(&completions)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command.clone(), "spanprof", &completions)
            .with_context(|| format!("failed to write completions of {shell}"))?;
    }
    // Debian wants them compressed, and rpm takes them so; their time is in no file then.
    for page in folders::files(&man)? {
        let packed = crate::archive::gzip(&folders::read(&page)?)?;
        folders::write(&page.with_extension("1.gz"), packed)?;
        fs::remove_file(&page)?;
    }
    Ok(())
}

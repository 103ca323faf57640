//! Man pages and completions, generated from the agent's own command line definition.
//!
//! They are generated here, so that the agent does not contain the generators.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{folders, release::Release};

// The room uses no other room, so it compiles without the agent.
#[path = "../../../profiler/src/cli/mod.rs"]
#[allow(
    dead_code,
    clippy::struct_field_names,
    unreachable_pub,
    unused_imports,
    reason = "the agent, a library, uses the parsed values"
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
    // Debian requires compressed pages, and rpm accepts them. The compressed files contain no time.
    for page in folders::files(&man)? {
        let packed = crate::archive::gzip(&folders::read(&page)?)?;
        folders::write(&page.with_extension("1.gz"), packed)?;
        fs::remove_file(&page)?;
    }
    Ok(())
}

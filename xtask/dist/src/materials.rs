//! The bill of materials of the agent, in `CycloneDX`: <https://cyclonedx.org>.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};
use xtask::command;

use crate::{
    binary,
    folders::{self, Folders},
    release::{self, Release},
    tools::Tools,
};

/// Writes it.
pub(crate) fn write(tools: &Tools, release: &Release, folders: &Folders) -> Result<()> {
    const NAME: &str = "spanprof.cdx";
    let mut command = Command::new(&tools.of_agent()?.cyclonedx);
    command
        .args(["cyclonedx", "--format", "json", "--spec-version", "1.5"])
        .arg("--no-build-deps")
        .args(["--target", binary::TARGET, "--override-filename", NAME])
        .args(["--manifest-path", "profiler/Cargo.toml"])
        .current_dir(&folders.source)
        .env(release::EPOCH, release.epoch.to_string());
    command::run(&mut command)?;
    let file = folders.source.join("profiler").join(format!("{NAME}.json"));
    let bill =
        fs::read_to_string(&file).with_context(|| format!("failed to read {}", file.display()))?;
    // It names our own crates by where they lie.
    let bill = bill.replace(&folders.source.display().to_string(), "/spanprof");
    folders::write(&folders.out.join(format!("{NAME}.json")), bill)
}

//! Bills of materials, in `CycloneDX`: <https://cyclonedx.org>.

use std::{fs, process::Command};

use anyhow::{Context as _, Result};
use xtask::command;

use crate::{
    binary,
    folders::{self, Folders},
    release::{self, Release},
    tools::Tools,
};

/// Writes the bill of materials of the crate in a folder of the tree, under a name.
pub(crate) fn write(
    tools: &Tools,
    release: &Release,
    folders: &Folders,
    folder: &str,
    name: &str,
) -> Result<()> {
    let file = format!("{name}.cdx");
    let mut command = Command::new(&tools.cyclonedx);
    command
        .args(["cyclonedx", "--format", "json", "--spec-version", "1.5"])
        .arg("--no-build-deps")
        .args(["--target", binary::TARGET, "--override-filename", &file])
        .args(["--manifest-path", &format!("{folder}/Cargo.toml")])
        .current_dir(&folders.source)
        .env(release::EPOCH, release.epoch.to_string());
    command::run(&mut command)?;
    let file = format!("{file}.json");
    let written = folders.source.join(folder).join(&file);
    let bill = fs::read_to_string(&written)
        .with_context(|| format!("failed to read {}", written.display()))?;
    // It names our own crates by their paths.
    let bill = bill.replace(&folders.source.display().to_string(), "/spanprof");
    folders::write(&folders.out.join(file), bill)
}

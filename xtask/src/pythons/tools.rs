//! Programs of Debian that tests run, fetched as the interpreters are: unpacked into a folder, without a trace in
//! the system.

use std::path::PathBuf;

use anyhow::Result;

use super::debian::{Apt, unpack};
use crate::{command::say, once::once, workspace::Workspace};

/// The release whose package is taken.
const SUITE: &str = "bookworm";
/// Needs nothing but a C library.
const PACKAGE: &str = "prometheus";

/// Fetches Prometheus with promtool; the folder of the programs.
pub(crate) fn ensure_prometheus(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.target.join("prometheus");
    once(&folder, &format!("{SUITE} {PACKAGE}"), |folder| {
        say(&format!(
            "fetching {PACKAGE} of Debian {SUITE} into {}",
            folder.display()
        ));
        for package in Apt::new(SUITE)?.download_alone(&[PACKAGE])? {
            unpack(&package, folder)?;
        }
        Ok(())
    })?;
    Ok(folder.join("usr/bin"))
}

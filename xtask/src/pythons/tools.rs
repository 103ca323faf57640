//! Programs of Debian that tests run. Like the interpreters they are unpacked into a folder, and the system stays
//! unchanged.

use std::path::PathBuf;

use anyhow::Result;

use super::debian::{Apt, unpack};
use crate::{command::say, once::once, workspace::Workspace};

/// The release of Debian that the package comes from.
const SUITE: &str = "bookworm";
/// It needs only a C library.
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

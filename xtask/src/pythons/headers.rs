//! Headers of the versions that pyenv does not have, for `cargo xtask codegen`.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::debian::{Apt, unpack};
use crate::{command::say, once::once};

const PACKAGES: [&str; 2] = ["libpython3.14-dev", "libpython3.15-dev"];

/// Unpacks them, unless that was done.
pub(super) fn ensure(folder: &Path) -> Result<()> {
    once(&folder.join("headers"), &PACKAGES.join(" "), |folder| {
        say(&format!(
            "fetching {} of Debian sid into {}",
            PACKAGES.join(", "),
            folder.display()
        ));
        for package in Apt::new("sid")?.download_alone(&PACKAGES)? {
            unpack(&package, folder)?;
        }
        Ok(())
    })
}

/// Prefixes with headers that were fetched.
pub(crate) fn prefixes() -> Result<Vec<PathBuf>> {
    Ok(vec![super::folder()?.join("headers/usr")])
}

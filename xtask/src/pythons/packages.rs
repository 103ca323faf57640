//! Packages for interpreters that have no pip: another interpreter's pip installs them into a folder.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{Cell, musl};
use crate::{
    command::{self, say},
    once::{once, stamp},
    python::{self, Pip},
    workspace::Workspace,
};

/// The first minor version that the package supports.
const OLDEST_WITH_PACKAGE: u8 = 10;

/// The folder of a version's packages; kinds of builds that need different ones have a separate folder.
pub(super) fn folder(workspace: &Workspace, minor: u8, kind: &str) -> PathBuf {
    workspace
        .target
        .join(format!("pythons/packages-3.{minor}{kind}"))
}

/// Installs OpenTelemetry and the package for each version of the cells; without `all`, leaves out those that
/// were built from source.
pub(super) fn ensure(workspace: &Workspace, cells: &[Cell], all: bool, pip: &Pip) -> Result<()> {
    let (wheel, sources) = python::ensure_wheel(workspace, pip)?;
    let mut folders = BTreeMap::new();
    let is_for_this_run = |cell: &&Cell| all || !(cell.is_musl || cell.free_threaded);
    let there = cells.iter().filter(|cell| cell.missing().is_none());
    for cell in there.filter(is_for_this_run) {
        folders.entry(&cell.packages).or_insert(cell);
    }
    let cells: Vec<&Cell> = folders.into_values().collect();
    python::several(&cells, |cell| {
        install(workspace, pip, cell, &wheel, sources)
            .with_context(|| format!("failed to install packages for CPython {}", cell.name))
    })
}

fn install(
    workspace: &Workspace,
    pip: &Pip,
    cell: &Cell,
    wheel: &Path,
    sources: u64,
) -> Result<()> {
    let list = match cell.minor {
        ..=8 => "3.8.txt",
        9 => "3.9.txt",
        10.. => "3.10.txt",
    };
    let list = workspace.root.join("tests/cells").join(list);
    let wanted = fs::read(&list).with_context(|| format!("failed to read {}", list.display()))?;
    once(&cell.packages, &stamp((sources, wanted)), |folder| {
        say(&format!(
            "installing OpenTelemetry for CPython 3.{} into {}",
            cell.minor,
            folder.display()
        ));
        let version = format!("3.{}", cell.minor);
        let mut install = pip.install(&[]);
        install
            .args(["--only-binary=:all:", "--implementation", "cp", "--no-deps"])
            .args(["--python-version", &version, "--target"])
            .arg(folder)
            .arg("--requirement")
            .arg(&list);
        // The package does not support the oldest versions: their spans are read only from the context.
        if cell.minor >= OLDEST_WITH_PACKAGE && !cell.free_threaded {
            install.arg(wheel);
        }
        command::run(&mut install)?;
        if cell.is_musl {
            let to = folder.join("spanprof/_hook.abi3.so");
            fs::copy(musl::module(workspace)?, &to)
                .with_context(|| format!("failed to write {}", to.display()))?;
        }
        Ok(())
    })
}

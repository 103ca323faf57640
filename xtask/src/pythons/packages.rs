//! Packages for interpreters that have no pip of their own: installed from outside, into a folder.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{Cell, musl};
use crate::{
    command::{self, say},
    interpreter,
    python::{self, Environment},
    workspace::Workspace,
};

/// The first minor version that the package supports.
const OLDEST_WITH_PACKAGE: u8 = 10;

/// Where the packages of a version are, and of a kind that needs its own.
pub(super) fn folder(workspace: &Workspace, minor: u8, kind: &str) -> PathBuf {
    workspace
        .target
        .join(format!("pythons/packages-3.{minor}{kind}"))
}

/// Installs OpenTelemetry and the package for each version of the cells.
pub(super) fn ensure(workspace: &Workspace, cells: &[Cell]) -> Result<()> {
    let interpreter = interpreter::any().context("no interpreter with pip")?;
    let pip = Environment {
        folder: workspace.target.join("wheel-builder"),
        interpreter: &interpreter,
        requirements: &[],
        packages: &[],
        inputs: 0,
    }
    .ensure()?;
    let (wheel, sources) = python::ensure_wheel(workspace, &interpreter)?;
    let mut done: Vec<PathBuf> = Vec::new();
    for cell in cells {
        if done.contains(&cell.packages) {
            continue;
        }
        install(workspace, &pip, cell, &wheel, sources)
            .with_context(|| format!("failed to install packages for CPython {}", cell.name))?;
        done.push(cell.packages.clone());
    }
    Ok(())
}

fn install(
    workspace: &Workspace,
    pip: &Path,
    cell: &Cell,
    wheel: &Path,
    sources: u64,
) -> Result<()> {
    super::once(&cell.packages, &format!("{sources:016x}"), |folder| {
        say(&format!(
            "installing OpenTelemetry for CPython 3.{} into {}",
            cell.minor,
            folder.display()
        ));
        let version = format!("3.{}", cell.minor);
        let install = |arguments: &[&str], what: &Path| {
            command::run(
                Command::new(pip)
                    .args([
                        "-m",
                        "pip",
                        "install",
                        "--quiet",
                        "--disable-pip-version-check",
                    ])
                    .args(["--only-binary=:all:", "--implementation", "cp"])
                    .args(["--python-version", &version, "--target"])
                    .arg(folder)
                    .args(arguments)
                    .arg(what),
            )
        };
        install(&[], Path::new("opentelemetry-sdk"))?;
        // The oldest have no package: their spans are read from the context alone.
        if cell.minor >= OLDEST_WITH_PACKAGE && !cell.free_threaded {
            install(&["--no-deps"], wheel)?;
        }
        if cell.is_musl {
            let to = folder.join("spanprof/_hook.abi3.so");
            fs::copy(musl::module(workspace)?, &to)
                .with_context(|| format!("failed to write {}", to.display()))?;
        }
        Ok(())
    })
}

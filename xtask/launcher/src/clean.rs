//! `cargo xtask clean`: removes what xtask has put outside the tree.

use std::{fs, process::Command};

use crate::{
    Result,
    cache::{self, Installed},
    command::{is_root, probe, say},
};

/// Removes the cache and everything on the list of what was installed, and names it.
///
/// # Errors
/// Something could not be removed. It stays on the list; the rest is removed.
pub fn run() -> Result<()> {
    let folder = cache::folder()?;
    let installed = cache::all();
    if installed.is_empty() && !folder.is_dir() {
        say("xtask has put nothing outside the tree");
        return Ok(());
    }
    let mut left = Vec::new();
    let (packages, parts): (Vec<_>, Vec<_>) = installed
        .into_iter()
        .partition(|installed| matches!(installed, Installed::Package(_)));
    // Newest first: a component must be removed before its toolchain.
    left.extend(parts.into_iter().rev().filter(|part| !remove_part(part)));
    if !packages.is_empty() && !remove_packages(&packages) {
        left.extend(packages);
    }
    say(&format!("removing {}", folder.display()));
    fs::remove_dir_all(&folder)
        .map_err(|error| format!("failed to remove {}: {error}", folder.display()))?;
    for installed in left.iter().rev() {
        installed.note()?;
    }
    say("to remove what is in the tree, run: cargo clean");
    let left: Vec<String> = left.iter().map(Installed::name).collect();
    if left.is_empty() {
        Ok(())
    } else {
        Err(format!("failed to remove {}", left.join(", ")))
    }
}

/// Whether a toolchain or a part of one is gone now.
fn remove_part(installed: &Installed) -> bool {
    let mut command = Command::new("rustup");
    let toolchain = match installed {
        Installed::Toolchain(name) => {
            command.args(["toolchain", "uninstall", name]);
            name
        }
        Installed::Component(toolchain, name) => {
            command.args(["component", "remove", name, "--toolchain", toolchain]);
            toolchain
        }
        Installed::Target(toolchain, name) => {
            command.args(["target", "remove", name, "--toolchain", toolchain]);
            toolchain
        }
        Installed::Package(_) => return true,
    };
    let list = probe(Command::new("rustup").args(["toolchain", "list"])).unwrap_or_default();
    if !list
        .lines()
        .any(|line| line.starts_with(toolchain.as_str()))
    {
        // It has been removed already.
        return true;
    }
    say(&format!("removing {}", installed.name()));
    command.status().is_ok_and(|status| status.success())
}

/// Whether packages are gone now. Uses dpkg, which refuses to remove a package that another one needs.
fn remove_packages(packages: &[Installed]) -> bool {
    let mut command = Command::new(if is_root() { "dpkg" } else { "sudo" });
    if !is_root() {
        command.arg("dpkg");
    }
    command.arg("--remove");
    for package in packages {
        say(&format!("removing {}", package.name()));
        if let Installed::Package(name) = package {
            command.arg(name);
        }
    }
    command.status().is_ok_and(|status| status.success())
}

//! `cargo xtask clean`: removes what xtask has put outside of the tree.

use std::{fs, process::Command};

use crate::{
    Result,
    cache::{self, Installed},
    command::{is_root, say},
};

/// Removes the cache and all that was noted down as installed, and says what.
///
/// # Errors
/// Something could not be removed; the rest is.
pub fn run() -> Result<()> {
    let mut failed = Vec::new();
    let mut kept = Vec::new();
    // The newest first: a component goes before its toolchain.
    let installed = cache::all();
    let nothing = installed.is_empty();
    for installed in installed.into_iter().rev() {
        if let Err(error) = remove(&installed) {
            failed.push(error);
            kept.push(installed);
        }
    }
    let folder = cache::folder()?;
    if folder.is_dir() {
        say(&format!("removing {}", folder.display()));
        if let Err(error) = fs::remove_dir_all(&folder) {
            failed.push(format!("failed to remove {}: {error}", folder.display()));
        }
    } else if nothing {
        say("nothing of xtask's is outside of the tree");
    }
    for installed in kept.iter().rev() {
        installed.note()?;
    }
    say("what is in the tree goes by: cargo clean");
    if failed.is_empty() {
        Ok(())
    } else {
        Err(failed.join("; "))
    }
}

fn remove(installed: &Installed) -> Result<()> {
    let mut command = Command::new("rustup");
    match installed {
        Installed::Toolchain(name) => command.args(["toolchain", "uninstall", name]),
        Installed::Component(toolchain, name) => {
            command.args(["component", "remove", name, "--toolchain", toolchain])
        }
        Installed::Target(toolchain, name) => {
            command.args(["target", "remove", name, "--toolchain", toolchain])
        }
        Installed::Package(name) => {
            // dpkg alone: it refuses what something else has come to need.
            command = Command::new(if is_root() { "dpkg" } else { "sudo" });
            if !is_root() {
                command.arg("dpkg");
            }
            command.args(["--remove", name])
        }
    };
    say(&format!("removing {}: {command:?}", installed.name()));
    if command.status().is_ok_and(|status| status.success()) {
        return Ok(());
    }
    Err(format!("failed to remove {}", installed.name()))
}

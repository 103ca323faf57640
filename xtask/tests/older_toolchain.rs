//! `cargo xtask` starts with any stable toolchain that a machine has, from any folder of the tree.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use launcher::{cache, pins};

/// The oldest toolchain that starts it: the launcher's `rust-version`.
const OLDEST: &str = "1.85.0";

/// A home of rustup with that toolchain alone, kept from run to run; `None` if it cannot be fetched.
fn home() -> Option<PathBuf> {
    let home = cache::folder().unwrap().join("rustup-oldest");
    let mut install = rustup(&home);
    install.args([
        "toolchain",
        "install",
        OLDEST,
        "--profile",
        "minimal",
        "--no-self-update",
    ]);
    let there = rustup(&home)
        .args(["run", OLDEST, "rustc", "--version"])
        .output();
    let is_there = there.is_ok_and(|output| output.status.success());
    if !is_there && !install.status().is_ok_and(|status| status.success()) {
        launcher::skip(&format!("rustup cannot install Rust {OLDEST}"));
        return None;
    }
    assert!(
        rustup(&home)
            .args(["default", OLDEST])
            .output()
            .unwrap()
            .status
            .success()
    );
    Some(home)
}

fn rustup(home: &Path) -> Command {
    let mut command = Command::new("rustup");
    in_home(&mut command, home);
    command
}

/// Runs a command as in the shell of a user who has no other toolchain.
fn in_home(command: &mut Command, home: &Path) {
    for variable in [
        "RUSTUP_TOOLCHAIN",
        "CARGO",
        "RUSTC",
        "RUSTDOC",
        "LD_LIBRARY_PATH",
    ] {
        command.env_remove(variable);
    }
    command
        .env("RUSTUP_HOME", home)
        .env("RUSTUP_AUTO_INSTALL", "0");
}

fn xtask(home: &Path, folder: &str, argument: &str, target: Option<&Path>) -> Output {
    let root = pins::root().unwrap();
    let mut command = Command::new("cargo");
    in_home(&mut command, home);
    command
        .args(["xtask", argument])
        .current_dir(root.join(folder));
    if let Some(target) = target {
        command.env("CARGO_TARGET_DIR", target);
    }
    command.output().unwrap()
}

/// If there is only the oldest toolchain, `cargo xtask` shows its help from every kind of folder and installs
/// nothing for that. It passes a command to the pinned toolchain, once that is installed.
#[test]
fn starts_with_the_oldest_toolchain() {
    let Some(home) = home() else {
        return;
    };
    let target = tempfile::tempdir().unwrap();
    let help = fs::read_to_string(pins::root().unwrap().join("xtask/help.txt")).unwrap();
    let pinned = pins::Pins::read(&pins::root().unwrap()).unwrap().stable;
    let toolchains = home.join("toolchains");
    let link = toolchains.join(format!("{pinned}-x86_64-unknown-linux-gnu"));
    // Left by a run that was interrupted.
    let _ = fs::remove_file(&link);
    for folder in [".", "docs", "xtask/launcher/src", "python", "python/src"] {
        let output = xtask(&home, folder, "--help", Some(target.path()));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{folder}: {said}");
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            help,
            "{folder}: {said}"
        );
    }
    assert_eq!(toolchains.read_dir().unwrap().count(), 1);

    // The pinned toolchain as this test runs with it: fetching it once more would show rustup's work.
    let sysroot = Command::new("rustup")
        .args(["run", &pinned, "rustc", "--print", "sysroot"])
        .output();
    let sysroot = String::from_utf8(sysroot.unwrap().stdout).unwrap();
    symlink(sysroot.trim(), &link).unwrap();
    let output = xtask(&home, "python", "layers", None);
    fs::remove_file(&link).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("layers: clean"),
        "{said}"
    );
}

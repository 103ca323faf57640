//! The package's native half for musl, on which a wheel built for glibc does not run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    command::{self, say},
    toolchain,
    workspace::Workspace,
};

const TARGET: &str = "x86_64-unknown-linux-musl";

/// Builds it; the library's path.
pub(super) fn module(workspace: &Workspace) -> Result<PathBuf> {
    let package = workspace.python_package();
    let target = workspace.target.join("python-package-musl");
    say(&format!("building the Python package for {TARGET}"));
    toolchain::ensure_target(workspace, TARGET)?;
    let unwinder = unwinder(&package, &target)?;
    let flags = [
        "-C",
        "target-feature=-crt-static",
        "-L",
        &unwinder.to_string_lossy(),
    ]
    .join("\u{1f}");
    command::run(
        workspace
            .cargo()?
            .args([
                "build",
                "--quiet",
                "--locked",
                "--release",
                "--target",
                TARGET,
            ])
            .current_dir(&package)
            .env("CARGO_TARGET_DIR", &target)
            .env("CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER", "musl-gcc")
            .env("CARGO_ENCODED_RUSTFLAGS", flags),
    )?;
    Ok(target.join(TARGET).join("release/lib_hook.so"))
}

/// A folder with the target's own unwinder under the name that the linker looks for: the host's unwinder
/// needs glibc.
fn unwinder(package: &Path, target: &Path) -> Result<PathBuf> {
    let folder = target.join("unwinder");
    fs::create_dir_all(&folder)
        .with_context(|| format!("failed to create {}", folder.display()))?;
    let from = unwinder_of_target(package)?
        .with_context(|| format!("the target {TARGET} has no unwinder"))?;
    fs::copy(&from, folder.join("libgcc_s.a"))
        .with_context(|| format!("failed to copy {}", from.display()))?;
    Ok(folder)
}

/// The unwinder of the target, if that is installed.
fn unwinder_of_target(package: &Path) -> Result<Option<PathBuf>> {
    let mut rustc = Command::new("rustc");
    rustc
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(package);
    let output = rustc.output().context("failed to start rustc")?;
    let libraries = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let path = libraries.join("self-contained/libunwind.a");
    Ok(path.is_file().then_some(path))
}

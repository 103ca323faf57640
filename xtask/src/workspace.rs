//! Where things are.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command;

/// The folders every subcommand works in.
pub(crate) struct Workspace {
    /// The folder of the root manifest.
    pub(crate) root: PathBuf,
    /// Cargo's target folder, wherever the user has put it.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Asks cargo: the user may have moved the target folder by environment or by configuration.
    pub(crate) fn locate() -> Result<Self> {
        let metadata = command::output(
            Command::new(cargo_program())
                .args(["metadata", "--format-version", "1", "--no-deps"])
                .current_dir(env!("CARGO_MANIFEST_DIR")),
        )?;
        let metadata: serde_json::Value =
            serde_json::from_str(&metadata).context("failed to read what cargo metadata wrote")?;
        let folder = |key: &str| {
            metadata
                .get(key)
                .and_then(serde_json::Value::as_str)
                .map(PathBuf::from)
                .with_context(|| format!("cargo metadata names no {key}"))
        };
        Ok(Self {
            root: folder("workspace_root")?,
            target: folder("target_directory")?,
        })
    }

    /// Where tools are installed, so that the user's own are left alone.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The folder of the Python package.
    pub(crate) fn python_package(&self) -> PathBuf {
        self.root.join("python")
    }

    /// The agent that `cargo xtask build --release` leaves.
    pub(crate) fn agent(&self) -> PathBuf {
        self.target.join("release/spanprof")
    }

    /// Cargo with the pinned stable toolchain, in the root, with our own tools found first.
    pub(crate) fn cargo(&self) -> Result<Command> {
        let mut command = Command::new(cargo_program());
        command
            .current_dir(&self.root)
            .env("PATH", self.path_with_tools()?);
        Ok(command)
    }

    /// `PATH` with our own tools first.
    pub(crate) fn path_with_tools(&self) -> Result<OsString> {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = [self.tools().join("bin")]
            .into_iter()
            .chain(env::split_paths(&path));
        env::join_paths(folders).context("failed to put the tools on PATH")
    }

    /// Is there anything to check in `profiler-ebpf` beyond its placeholder library?
    pub(crate) fn has_bpf_programs(&self) -> bool {
        self.root.join("profiler-ebpf/src/main.rs").is_file()
    }

    /// Is the Python package there?
    pub(crate) fn has_python_package(&self) -> bool {
        self.python_package().join("pyproject.toml").is_file()
    }
}

/// The cargo that runs us, so that one toolchain does it all.
pub(crate) fn cargo_program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"))
}

/// Every file below `folder` whose name ends in `.suffix`, sorted; none if there is no such folder.
pub(crate) fn files_below(folder: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        if !folder.is_dir() {
            continue;
        }
        let entries = folder
            .read_dir()
            .with_context(|| format!("failed to list {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("failed to list {}", folder.display()))?;
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() {
                if name != "target" && !name.to_string_lossy().starts_with('.') {
                    folders.push(path);
                }
            } else if path
                .extension()
                .is_some_and(|extension| extension == suffix)
            {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

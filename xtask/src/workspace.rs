//! The folders and programs that the commands use.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Error, Result};
use cargo_metadata::MetadataCommand;
use launcher::pins::{self, Pins};

use crate::programs;

/// The folders every subcommand works in.
#[derive(Clone, Debug)]
pub struct Workspace {
    /// The folder of the root manifest.
    pub root: PathBuf,
    /// Cargo's target folder, which the user may have moved.
    pub target: PathBuf,
    /// Which toolchains and tools are used.
    pub pins: Pins,
}

impl Workspace {
    /// Asks cargo: the user may have moved the target folder by environment or by configuration.
    pub fn locate() -> Result<Self> {
        let metadata = MetadataCommand::new()
            .cargo_path(cargo_program())
            .current_dir(pins::root().map_err(Error::msg)?)
            .no_deps()
            .exec()
            .context("failed to ask cargo for its folders")?;
        let root = metadata.workspace_root.into_std_path_buf();
        Ok(Self {
            target: metadata.target_directory.into_std_path_buf(),
            pins: Pins::read(&root).map_err(Error::msg)?,
            root,
        })
    }

    /// The folder that tools are installed into, so that the user's own stay as they are.
    pub fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The folder of the Python package.
    pub fn python_package(&self) -> PathBuf {
        self.root.join("python")
    }

    /// Cargo with the pinned stable toolchain, in the root, with our own tools found first.
    pub fn cargo(&self) -> Result<Command> {
        let mut command = Command::new(cargo_program());
        command
            .current_dir(&self.root)
            .env("PATH", self.path_with_tools()?);
        Ok(command)
    }

    /// The same, with the object of the kernel programs ready and its path passed to the agent's build.
    ///
    /// # Errors
    /// They have to be built and cannot.
    pub fn cargo_with_programs(&self) -> Result<Command> {
        let object = programs::ensure(self)?;
        let mut cargo = self.cargo()?;
        cargo.env(programs::VARIABLE, object);
        Ok(cargo)
    }

    /// `PATH` with our own tools first.
    ///
    /// # Errors
    /// Their folder has a colon in its name.
    pub fn path_with_tools(&self) -> Result<OsString> {
        self.path_with(&self.tools().join("bin"))
    }

    /// `PATH` with a folder first.
    ///
    /// # Errors
    /// The folder has a colon in its name.
    pub fn path_with(&self, folder: &Path) -> Result<OsString> {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = [folder.to_path_buf()]
            .into_iter()
            .chain(env::split_paths(&path));
        env::join_paths(folders).context("failed to put the tools on PATH")
    }
}

/// The cargo that runs this program, so that everything uses one toolchain.
pub fn cargo_program() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"))
}

/// Every file below `folder` whose name ends in `.suffix`, sorted; none if there is no such folder.
pub fn files_below(folder: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
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

//! `cargo xtask pythons`: every kind of CPython that the agent is tested with.
//!
//! Interpreters of pyenv are used as they are. The rest is fetched once into the user's cache: Debian's packages,
//! unpacked into folders that the tests run in by `chroot`, and two builds from Debian's source of CPython.

mod cell;
pub mod debian;
mod headers;
mod musl;
mod packages;
mod source;
mod tools;

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Error, Result};
use launcher::cache;
use rustix::fs::Mode;

pub(crate) use self::{
    cell::{Cell, Cells},
    headers::prefixes as header_prefixes,
    tools::ensure_prometheus,
};
use crate::{command::say, python::Pip, workspace::Workspace};

/// Fetch every CPython the agent is tested with, 3.8 to 3.15, and list them
///
/// About 1.2 GB below `~/.cache/spanprof` (or `SPANPROF_CACHE`), fetched and built once: Debian's packages of 3.9,
/// 3.11, 3.13, 3.14 and 3.15 with what embedding them needs, and 3.13 without the GIL and with musl, built from
/// source. Needs apt-get, dpkg, cc and make; as root on Debian it installs musl-tools.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Fetch nothing: list what is installed and what is missing
    #[arg(long)]
    list: bool,
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::locate()?;
    let cells = if arguments.list {
        cell::all(&workspace)?
    } else {
        let cells = ensure(&workspace, true, &Pip::ensure(&workspace)?)?.all;
        write_matrix(&workspace, &cells)?;
        cells
    };
    for cell in &cells {
        let (mark, place) = cell.place();
        println!("{mark} {:<24} {:<34} {place}", cell.name, cell.what);
    }
    Ok(())
}

/// Fetches what is missing, for every cell or for one per version. Returns the cells of the matrix; a cell that
/// could not be fetched has no program.
pub(crate) fn ensure(workspace: &Workspace, all: bool, pip: &Pip) -> Result<Cells> {
    // Other users and containers read the cache, so the caller's umask must not apply.
    rustix::process::umask(Mode::from_bits_truncate(0o022));
    let folder = folder()?;
    for part in cell::parts(all) {
        if let Err(error) = part.ensure(&folder) {
            say(&format!(
                "{} cannot be fetched or built: {error:#}",
                part.name()
            ));
        }
    }
    let cells = Cells::choose(cell::all(workspace)?, all);
    packages::ensure(workspace, &cells.all, all, pip)?;
    Ok(cells)
}

/// CPython 3.13 with musl, built if it is missing.
///
/// # Errors
/// It does not build.
pub fn ensure_musl() -> Result<PathBuf> {
    source::MUSL.ensure(&folder()?)?;
    Ok(source::MUSL.program(&folder()?))
}

/// Installs `musl-gcc`, unless it is there.
///
/// # Errors
/// It is missing, and this is not Debian, or the user may not install packages.
pub fn ensure_musl_compiler() -> Result<()> {
    source::ensure_musl()
}

/// Fetches the headers that pyenv does not have.
pub(crate) fn ensure_headers() -> Result<()> {
    headers::ensure(&folder()?)
}

/// Writes the description of the cells that the end-to-end tests read; returns the file's path.
pub(crate) fn write_matrix(workspace: &Workspace, cells: &[Cell]) -> Result<PathBuf> {
    let folder = workspace.target.join("pythons");
    fs::create_dir_all(&folder)
        .with_context(|| format!("failed to create {}", folder.display()))?;
    let path = folder.join("matrix.json");
    let text = serde_json::to_string_pretty(&cells.iter().map(Cell::to_json).collect::<Vec<_>>())?;
    fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(path)
}

/// The folder of it all.
fn folder() -> Result<PathBuf> {
    Ok(cache::folder().map_err(Error::msg)?.join("interpreters"))
}

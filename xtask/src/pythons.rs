//! `cargo xtask pythons`: every kind of CPython that the agent is tested with.
//!
//! What pyenv has is used as it is. The rest is fetched once into the user's cache: Debian's packages,
//! unpacked into folders to run in by `chroot`, and two builds from Debian's source of CPython.

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

/// Fetch every CPython the agent is tested with, 3.8 to 3.15, and list what there is
///
/// Some 1.2 GB below `~/.cache/spanprof` (or `SPANPROF_CACHE`), fetched and built once: Debian's packages
/// of 3.9, 3.11, 3.13, 3.14 and 3.15 with what it takes to embed them, and 3.13 without the GIL and with musl, built from source. Needs
/// apt-get, dpkg, cc and make; as root on Debian it installs musl-tools.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Fetch nothing: list what is there and what is missing
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

/// Fetches what is missing, for every cell or for one a version; the cells of the matrix, those that could
/// not be had without a program.
pub(crate) fn ensure(workspace: &Workspace, all: bool, pip: &Pip) -> Result<Cells> {
    // Other users and containers read it, whatever the caller's files are.
    rustix::process::umask(Mode::from_bits_truncate(0o022));
    let folder = folder()?;
    for part in cell::parts(all) {
        if let Err(error) = part.ensure(&folder) {
            say(&format!("{} cannot be had: {error:#}", part.name()));
        }
    }
    let cells = Cells::choose(cell::all(workspace)?, all);
    packages::ensure(workspace, &cells.all, all, pip)?;
    Ok(cells)
}

/// CPython 3.13 with musl, built if it is not there.
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
/// It is not, and this is no Debian, or this user may not install.
pub fn ensure_musl_compiler() -> Result<()> {
    source::ensure_musl()
}

/// Fetches the headers that pyenv does not have.
pub(crate) fn ensure_headers() -> Result<()> {
    headers::ensure(&folder()?)
}

/// Writes what the end-to-end tests are told of the cells; the file's path.
pub(crate) fn write_matrix(workspace: &Workspace, cells: &[Cell]) -> Result<PathBuf> {
    let folder = workspace.target.join("pythons");
    fs::create_dir_all(&folder)
        .with_context(|| format!("failed to create {}", folder.display()))?;
    let path = folder.join("matrix.json");
    let text = serde_json::to_string_pretty(&cells.iter().map(Cell::to_json).collect::<Vec<_>>())?;
    fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))?;
    Ok(path)
}

/// Where it all is.
fn folder() -> Result<PathBuf> {
    Ok(cache::folder().map_err(Error::msg)?.join("interpreters"))
}

//! Every kind of CPython, as `cargo xtask pythons` has fetched them.

#![expect(
    clippy::missing_panics_doc,
    clippy::panic,
    clippy::expect_used,
    reason = "a matrix that cannot be read fails the test"
)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde::Deserialize;

use crate::{
    python::{self, Workload},
    spanprof,
};

/// Enters a root folder with the programs and packages mounted into it, and becomes the program: its pid
/// stays, and so do its standard streams.
const ENTER: &str = r#"root=$1
mount --bind "$2" "$root/spanprof/programs" &&
mount --bind "$3" "$root/spanprof/packages" &&
mount -t proc proc "$root/proc" &&
mount --rbind /dev "$root/dev" || exit 1
shift 3
exec chroot "$root" "$@""#;

/// One kind of interpreter.
#[derive(Clone, Debug, Deserialize)]
pub struct Cell {
    /// What it is called.
    pub name: String,
    /// What is special about it.
    pub what: String,
    /// Its minor version.
    pub minor: u8,
    /// Whether it runs without the GIL.
    pub free_threaded: bool,
    /// The folder to `chroot` into.
    pub root: Option<PathBuf>,
    /// The program; `None` if it is missing.
    pub python: Option<PathBuf>,
    /// A folder of packages for it.
    pub packages: PathBuf,
}

/// The whole matrix, as `SPANPROF_MATRIX` says; empty if nothing can be tested.
pub fn cells() -> Vec<Cell> {
    if !spanprof::is_ready() {
        return Vec::new();
    }
    let Some(path) = env::var_os("SPANPROF_MATRIX") else {
        crate::skip("no matrix in SPANPROF_MATRIX");
        return Vec::new();
    };
    let text = fs::read_to_string(path).expect("the matrix was written");
    serde_json::from_str(&text).expect("the matrix is JSON")
}

/// A cell by its name; skips if its interpreter is missing.
///
/// # Panics
/// If the matrix has no such cell: then the test is of nothing.
pub fn cell(name: &str) -> Option<Cell> {
    let cells = cells();
    if cells.is_empty() {
        return None;
    }
    let cell = cells.into_iter().find(|cell| cell.name == name);
    let cell = cell.unwrap_or_else(|| panic!("the matrix has no cell {name}"));
    if cell.python.is_none() {
        crate::skip(&format!(
            "CPython {name} is missing: run cargo xtask pythons"
        ));
        return None;
    }
    Some(cell)
}

impl Cell {
    /// Whether the package is there: PyO3 serves no interpreter before 3.10 with one wheel for all,
    /// and none without the GIL before 3.14.
    pub fn has_package(&self) -> bool {
        self.packages.join("spanprof").is_dir()
    }

    /// The same with another program for its interpreter.
    #[must_use]
    pub fn with_python(&self, python: &Path) -> Self {
        Self {
            python: Some(python.to_owned()),
            ..self.clone()
        }
    }

    /// A program of the folder, as the interpreter sees it.
    pub fn program(&self, name: &str) -> PathBuf {
        if self.root.is_some() {
            Path::new("/spanprof/programs").join(name)
        } else {
            python::program(name)
        }
    }

    /// A command of this interpreter.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let python = self.python.as_ref().expect("asked before");
        let mut command;
        let path;
        if let Some(root) = &self.root {
            command = Command::new("unshare");
            command
                .args([
                    "--mount",
                    "--propagation",
                    "private",
                    "sh",
                    "-c",
                    ENTER,
                    "sh",
                ])
                .args([root, &python::program(""), &self.packages, python]);
            path = "/spanprof/programs:/spanprof/packages".to_owned();
        } else {
            command = Command::new(python);
            path = format!(
                "{}:{}",
                python::program("").display(),
                self.packages.display()
            );
        }
        python::forget_the_caller(&mut command);
        command
            .args(arguments)
            .env("PYTHONPATH", path)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("LC_ALL", "C.UTF-8");
        command
    }

    /// Starts a workload of the folder; returns when it waits for the word to begin.
    pub fn start(&self, name: &str, environment: &[(&str, &str)]) -> Workload {
        let program = self.program(name);
        let mut command = self.command(&[&program.to_string_lossy()]);
        command.envs(environment.iter().copied());
        Workload::start(&mut command)
    }
}

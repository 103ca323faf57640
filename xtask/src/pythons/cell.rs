//! The matrix: one cell for each kind of interpreter.

use std::{
    env,
    path::{Path, PathBuf},
};

use anyhow::Result;
use serde_json::{Value, json};

use super::{
    debian::{self, Suite},
    headers, packages, source,
};
use crate::workspace::Workspace;

/// Something to fetch or to build.
pub(super) enum Part {
    /// A release of Debian with its interpreters.
    Suite(&'static Suite),
    /// Headers of the versions that Debian alone has.
    Headers,
    /// A build from source.
    Source(&'static source::Build),
}

/// All of them, in the order they need one another.
pub(super) const PARTS: [Part; 7] = [
    Part::Suite(&debian::BULLSEYE),
    Part::Suite(&debian::BOOKWORM),
    Part::Suite(&debian::TRIXIE),
    Part::Suite(&debian::SID),
    Part::Headers,
    Part::Source(&source::FREE_THREADED),
    Part::Source(&source::MUSL),
];

impl Part {
    pub(super) fn ensure(&self, folder: &Path) -> Result<()> {
        match self {
            Self::Suite(suite) => suite.ensure(folder),
            Self::Headers => headers::ensure(folder),
            Self::Source(build) => build.ensure(folder),
        }
    }

    pub(super) fn name(&self) -> String {
        match self {
            Self::Suite(suite) => format!("Debian {}", suite.name),
            Self::Headers => "headers of 3.14 and 3.15".to_owned(),
            Self::Source(build) => build.name.to_owned(),
        }
    }
}

/// One kind of interpreter.
pub(crate) struct Cell {
    /// What it is called in the tests' summary.
    pub(crate) name: String,
    /// What is special about it.
    pub(crate) what: &'static str,
    /// Its minor version.
    pub(crate) minor: u8,
    /// Whether it runs without the GIL.
    pub(crate) free_threaded: bool,
    /// Whether its C library is musl.
    pub(crate) is_musl: bool,
    /// The folder to `chroot` into, if it needs one.
    root: Option<PathBuf>,
    /// The program, as seen from there.
    python: PathBuf,
    /// Where its packages are, as seen from outside.
    pub(super) packages: PathBuf,
    is_there: bool,
}

impl Cell {
    /// A mark, and where it is or why not.
    pub(super) fn place(&self) -> (char, String) {
        let within = self
            .root
            .as_ref()
            .map_or_else(String::new, |root| format!(" in {}", root.display()));
        if self.is_there {
            ('+', format!("{}{within}", self.python.display()))
        } else {
            ('-', format!("missing: {}{within}", self.python.display()))
        }
    }

    /// What the tests are told.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "what": self.what,
            "minor": self.minor,
            "free_threaded": self.free_threaded,
            "root": self.root,
            "python": self.is_there.then_some(&self.python),
            "packages": self.packages,
        })
    }
}

/// Every cell, whether it is there or not.
pub(super) fn all(workspace: &Workspace) -> Result<Vec<Cell>> {
    let folder = super::folder()?;
    let mut cells = Vec::new();
    let mut add = |name: &str, what, minor, root: Option<PathBuf>, python: PathBuf, is_there| {
        let free_threaded = name.ends_with('t');
        let is_musl = name.ends_with("-musl");
        let kind = match (free_threaded, is_musl) {
            (true, _) => "t",
            (_, true) => "-musl",
            _ => "",
        };
        cells.push(Cell {
            name: name.to_owned(),
            what,
            minor,
            free_threaded,
            is_musl,
            root,
            python,
            packages: packages::folder(workspace, minor, kind),
            is_there,
        });
    };
    for minor in 8..=13 {
        let python = pyenv(minor);
        let is_there = python.is_some();
        let wanted = format!("python3.{minor} of pyenv");
        let python = python.unwrap_or_else(|| wanted.into());
        add(
            &format!("3.{minor}"),
            "shared, not stripped",
            minor,
            None,
            python,
            is_there,
        );
    }
    for suite in [
        &debian::BULLSEYE,
        &debian::BOOKWORM,
        &debian::TRIXIE,
        &debian::SID,
    ] {
        for interpreter in suite.interpreters {
            let root = folder.join(suite.name);
            let python = Path::new("/usr/bin").join(interpreter.program);
            let is_there = root.join("usr/bin").join(interpreter.program).is_file();
            let name = format!("{}-debian", interpreter.name);
            add(
                &name,
                interpreter.what,
                interpreter.minor,
                Some(root),
                python,
                is_there,
            );
        }
    }
    for build in [&source::FREE_THREADED, &source::MUSL] {
        let python = build.program(&folder);
        let is_there = python.is_file();
        add(build.name, build.what, build.minor, None, python, is_there);
    }
    Ok(cells)
}

/// An interpreter that pyenv has built.
fn pyenv(minor: u8) -> Option<PathBuf> {
    let versions = Path::new(&env::var_os("HOME")?).join(".pyenv/versions");
    let mut found: Vec<PathBuf> = versions
        .read_dir()
        .ok()?
        .flatten()
        .map(|version| version.path().join(format!("bin/python3.{minor}")))
        .filter(|python| python.is_file())
        .collect();
    found.sort();
    found.pop()
}

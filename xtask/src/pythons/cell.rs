//! The matrix: one cell for each kind of interpreter.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use anyhow::Result;
use launcher::interpreter;
use serde_json::{Value, json};

use super::{
    debian::{self, Suite},
    headers, packages, source,
};
use crate::workspace::Workspace;

/// A part that is fetched or built.
pub(super) enum Part {
    /// A release of Debian with its interpreters.
    Suite(&'static Suite),
    /// Headers of the versions that only Debian has.
    Headers,
    /// A build from source.
    Source(&'static source::Build),
}

/// All of them, each after those that it needs.
const PARTS: [Part; 7] = [
    Part::Suite(&debian::BOOKWORM),
    Part::Suite(&debian::TRIXIE),
    Part::Suite(&debian::SID),
    Part::Suite(&debian::BULLSEYE),
    Part::Headers,
    Part::Source(&source::FREE_THREADED),
    Part::Source(&source::MUSL),
];

/// The parts for a run on one interpreter per version: the first three are also run in containers.
pub(super) fn parts(all: bool) -> &'static [Part] {
    let parts: &[Part] = &PARTS;
    let has_3_9 = interpreter::of_minor(9).is_some();
    let few = parts.get(..if has_3_9 { 3 } else { 4 });
    if all { parts } else { few.unwrap_or(parts) }
}

impl Part {
    pub(super) fn ensure(&self, folder: &Path) -> Result<()> {
        match self {
            Self::Suite(suite) => {
                suite.ensure(folder)?;
                suite.ensure_development(folder)
            }
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

/// The first minor version that a machine need not have: CI's machines have the earlier ones.
const FIRST_OF_DEBIAN_ALONE: u8 = 14;

/// One kind of interpreter.
pub(crate) struct Cell {
    /// Its name in the tests' summary.
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
    /// The program's path in that folder.
    python: PathBuf,
    /// The folder of its packages, as a path outside the `chroot`.
    pub(super) packages: PathBuf,
    is_there: bool,
}

impl Cell {
    /// A mark, and the path of the interpreter or the reason why it is missing.
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

    /// The reason why it cannot be tested, if it is missing.
    pub(super) fn missing(&self) -> Option<String> {
        let (_, place) = self.place();
        (!self.is_there).then(|| format!("CPython {} is {place}", self.name))
    }

    /// Whether Debian always has the version, so that it need not be on the host.
    fn has_stand_in(&self) -> bool {
        self.root.is_none() && self.name.ends_with("-host") && self.minor >= FIRST_OF_DEBIAN_ALONE
    }

    /// The name of its test: `of_3_9d_debian`.
    pub(super) fn test(&self) -> String {
        format!("of_{}", self.name.replace(['.', '-'], "_"))
    }

    /// Its description for the tests.
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
        let free_threaded = name.ends_with('t') && !name.contains('-');
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
    for minor in 8..=15 {
        let python = interpreter::of_minor(minor);
        let is_there = python.is_some();
        let wanted = format!("a python3.{minor} on this machine");
        let python = python.unwrap_or_else(|| wanted.into());
        add(
            &format!("3.{minor}-host"),
            "as this machine has it",
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

/// The cells, and which of them a run tests.
pub(crate) struct Cells {
    /// Every cell, whether it is there or not.
    pub(crate) all: Vec<Cell>,
    /// Names of the tests of cells that this run leaves out.
    pub(crate) left_out: Vec<String>,
    /// The missing interpreters that should be tested, with the reason.
    pub(crate) missing: Vec<String>,
}

impl Cells {
    /// Chooses every cell, or for each version the first that exists.
    pub(super) fn choose(cells: Vec<Cell>, all: bool) -> Self {
        let mut chosen = BTreeSet::new();
        let (mut left_out, mut missing) = (Vec::new(), Vec::new());
        for cell in &cells {
            let is_chosen = cell.is_there && (all || !chosen.contains(&cell.minor));
            if is_chosen {
                chosen.insert(cell.minor);
                continue;
            }
            left_out.push(cell.test());
            missing.extend(cell.missing().filter(|_| all && !cell.has_stand_in()));
        }
        if !all {
            let minors: BTreeSet<u8> = cells.iter().map(|cell| cell.minor).collect();
            for minor in minors.difference(&chosen) {
                missing.push(format!(
                    "CPython 3.{minor}: neither this machine nor Debian has it"
                ));
            }
        }
        Self {
            all: cells,
            left_out,
            missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, Cells};

    fn cell(name: &str, minor: u8, is_there: bool) -> Cell {
        Cell {
            name: name.to_owned(),
            what: "",
            minor,
            free_threaded: false,
            is_musl: false,
            root: None,
            python: name.into(),
            packages: "".into(),
            is_there,
        }
    }

    fn choose(all: bool) -> Cells {
        let cells = vec![
            cell("3.8-host", 8, false),
            cell("3.9-host", 9, false),
            cell("3.11-host", 11, true),
            cell("3.9-debian", 9, true),
            cell("3.11d-debian", 11, true),
        ];
        Cells::choose(cells, all)
    }

    /// One cell per version is tested, the host's rather than Debian's; a version without a cell is reported.
    #[test]
    fn one_of_each_version() {
        let cells = choose(false);
        assert_eq!(
            cells.left_out,
            ["of_3_8_host", "of_3_9_host", "of_3_11d_debian"]
        );
        assert_eq!(
            cells.missing,
            ["CPython 3.8: neither this machine nor Debian has it"]
        );
    }

    /// Every existing cell is tested, and each missing one is reported.
    #[test]
    fn all_of_them() {
        let cells = choose(true);
        assert_eq!(cells.left_out, ["of_3_8_host", "of_3_9_host"]);
        assert_eq!(cells.missing.len(), 2);
    }
}

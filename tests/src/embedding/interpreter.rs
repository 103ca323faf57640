//! Where an interpreter keeps the files that are needed to embed it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::matrix::Cell;

/// The folder of libraries in distributions that support several architectures.
const MULTIARCH: &str = "x86_64-linux-gnu";

/// The C library of a root, and all that interpreters of Debian need beside.
const LIBRARIES: [&str; 8] = [
    "libexpat.so.1",
    "libz.so.1",
    "libutil.so.1",
    "libdl.so.2",
    "libm.so.6",
    "libpthread.so.0",
    "libc.so.6",
    "ld-linux-x86-64.so.2",
];

/// How the interpreter gets into a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// As a shared library.
    Shared,
    /// As a part of the program's own file.
    Static,
    /// The same, without a table of symbols but for those that are exported.
    Stripped,
}

/// An interpreter's files, as this process sees them.
#[derive(Debug)]
pub(super) struct Interpreter {
    /// What it is installed below.
    prefix: PathBuf,
    /// What holds its library and its headers: one of these.
    development: Vec<PathBuf>,
    /// Its version and the flags of its ABI: `3.13t`.
    abi: String,
    /// The root that it runs in.
    root: Option<PathBuf>,
}

impl Interpreter {
    /// That of a cell; nothing if its file does not have the name that CPython gives it.
    pub(super) fn of(cell: &Cell) -> Option<Self> {
        let python = cell.python.as_ref()?;
        let python = match &cell.root {
            Some(_) => python.clone(),
            None => fs::canonicalize(python).ok()?,
        };
        let abi = python.file_name()?.to_str()?.strip_prefix("python")?;
        let mut development = Vec::new();
        let prefix = if let Some(root) = &cell.root {
            let fetched = root.parent()?.join("development").join(root.file_name()?);
            development.push(fetched.join("usr"));
            root.join("usr")
        } else {
            python.parent()?.parent()?.to_owned()
        };
        development.push(prefix.clone());
        Some(Self {
            prefix,
            development,
            abi: abi.to_owned(),
            root: cell.root.clone(),
        })
    }

    /// Whether it was built with `Py_DEBUG`.
    pub(super) fn is_debug(&self) -> bool {
        self.abi.ends_with('d')
    }

    /// `PYTHONHOME`, as the interpreter sees it.
    pub(super) fn home(&self) -> &Path {
        match self.root {
            Some(_) => Path::new("/usr"),
            None => &self.prefix,
        }
    }

    /// Folders of headers.
    pub(super) fn headers(&self) -> Result<Vec<PathBuf>, String> {
        // Those of a debug build are links to the usual ones, whose ABI is the same from 3.8 on.
        let name = format!("python{}", self.abi.trim_end_matches('d'));
        let includes = self.development.iter().map(|it| it.join("include"));
        let with_it = |include: &PathBuf| include.join(&name).join("Python.h").is_file();
        let include = { includes }.find(with_it);
        let include = include.ok_or_else(|| format!("there are no headers of {name}"))?;
        Ok(vec![include.join(name), include.join(MULTIARCH), include])
    }

    /// The library: for a shared one the file that a program loads.
    pub(super) fn library(&self, linked: Linked) -> Result<PathBuf, String> {
        let suffix = match linked {
            Linked::Shared => "so.1.0",
            Linked::Static | Linked::Stripped => "a",
        };
        let name = format!("libpython{}.{suffix}", self.abi);
        let folders = self.development.iter().flat_map(|it| {
            let lib = it.join("lib");
            [lib.join(MULTIARCH), lib]
        });
        let found = folders.map(|it| it.join(&name)).find(|it| it.is_file());
        found.ok_or_else(|| format!("there is no {name}"))
    }

    /// Libraries of the root that it runs in, which need not be those of this machine.
    pub(super) fn libraries(&self) -> Vec<PathBuf> {
        let root = self.root.iter();
        let folders = root.map(|root| root.join("lib").join(MULTIARCH));
        let paths = folders.flat_map(|folder| LIBRARIES.map(|name| folder.join(name)));
        paths.filter(|path| path.is_file()).collect()
    }
}

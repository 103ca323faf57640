//! Makes the program for a kind of CPython, and starts it.

#![expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "a test cannot go on without its program"
)]

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::record::Record;
use crate::{
    compile::compile_all,
    matrix::Cell,
    python::{Workload, program},
};

/// Where distributions that know several architectures keep libraries.
const MULTIARCH: &str = "x86_64-linux-gnu";

/// How the interpreter gets into the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// As a shared library.
    Shared,
    /// As a part of the program's own file.
    Static,
    /// The same, without a table of symbols but for those that are exported.
    Stripped,
}

/// The program for a cell.
#[derive(Debug)]
pub struct Host {
    cell: Cell,
    /// As the cell sees it.
    home: PathBuf,
    /// As this process sees it.
    folder: TempDir,
}

/// Where an interpreter keeps what is needed to embed it.
#[derive(Debug)]
struct Files {
    /// What the interpreter is installed below, as this process sees it.
    prefix: PathBuf,
    /// Version and flags of its ABI: `3.13t`.
    abi: String,
}

impl Files {
    fn of(cell: &Cell) -> Option<Self> {
        let python = cell.python.as_ref().expect("asked before");
        let (prefix, python) = if let Some(root) = &cell.root {
            (root.join("usr"), python.clone())
        } else {
            let python = fs::canonicalize(python).ok()?;
            (python.parent()?.parent()?.to_owned(), python)
        };
        let abi = python.file_name()?.to_str()?.strip_prefix("python")?;
        Some(Self {
            prefix,
            abi: abi.to_owned(),
        })
    }

    fn headers(&self) -> Result<Vec<PathBuf>, String> {
        let name = format!("python{}", self.abi);
        let include = self.prefix.join("include");
        let headers = include.join(&name);
        if !headers.join("Python.h").is_file() {
            return Err(format!("there is no {}/Python.h", headers.display()));
        }
        Ok(vec![headers, include.clone(), include.join(MULTIARCH)])
    }

    fn library(&self, linked: Linked) -> Result<PathBuf, String> {
        let suffix = if linked == Linked::Shared { "so" } else { "a" };
        let name = format!("libpython{}.{suffix}", self.abi);
        let lib = self.prefix.join("lib");
        let folders = [lib.clone(), lib.join(MULTIARCH)];
        let paths = folders.map(|folder| folder.join(&name));
        let found = paths.into_iter().find(|path| path.is_file());
        found.ok_or_else(|| format!("there is no {name} below {}", lib.display()))
    }
}

impl Host {
    /// Compiles it; the error says what is missing.
    pub fn build(cell: &Cell, linked: Linked) -> Result<Self, String> {
        let files = Files::of(cell).ok_or("the interpreter's file is called otherwise")?;
        let (headers, library) = (files.headers()?, files.library(linked)?);
        let folder = match &cell.root {
            Some(root) => tempfile::tempdir_in(root.join("tmp")),
            None => tempfile::tempdir(),
        };
        let folder = folder.expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let file = folder.path().join("host");
        let mut arguments = vec![
            "-D_GNU_SOURCE".to_owned(),
            // No copies of the library's objects in the program.
            "-fPIC".to_owned(),
            "-fno-omit-frame-pointer".to_owned(),
        ];
        arguments.extend(headers.iter().map(|it| format!("-I{}", it.display())));
        arguments.push(library.display().to_string());
        match linked {
            Linked::Shared => {
                let lib = library.parent().expect("a file");
                arguments.push(format!("-Wl,-rpath,{}", lib.display()));
            }
            Linked::Static => arguments.push("-no-pie".to_owned()),
            Linked::Stripped => arguments.extend(["-no-pie".to_owned(), "-s".to_owned()]),
        }
        arguments.extend(["-rdynamic", "-lpthread", "-lm"].map(str::to_owned));
        compile_all("cc", &sources(), &file, &arguments);
        let home = if cell.root.is_some() {
            PathBuf::from("/usr")
        } else {
            files.prefix
        };
        let inside = inside(cell, &file);
        Ok(Self {
            cell: cell.with_python(&inside),
            home,
            folder,
        })
    }

    /// Starts one of its programs; returns when it waits for the word to begin.
    pub fn start(&self, name: &str, seconds: f64) -> Workload {
        let file = inside(&self.cell, &self.record_path(name));
        let mut command = self.cell.command(&[name, &seconds.to_string()]);
        command
            .env("PYTHONHOME", &self.home)
            .env("WITHOUT_PACKAGE", "1")
            .env("STATES_FILE", file);
        Workload::start(&mut command)
    }

    /// What a program has recorded.
    pub fn record(&self, name: &str) -> Record {
        Record::read(&self.record_path(name))
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A path as a cell sees it.
fn inside(cell: &Cell, path: &Path) -> PathBuf {
    match &cell.root {
        Some(root) => Path::new("/").join(path.strip_prefix(root).expect("in the root")),
        None => path.to_owned(),
    }
}

fn sources() -> Vec<PathBuf> {
    let folder = program("embedding").read_dir().expect("it is there");
    let mut sources: Vec<PathBuf> = folder
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|it| it == "c"))
        .collect();
    sources.sort();
    sources
}

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
    process::Command,
};

use tempfile::TempDir;

use super::{
    interpreter::{Interpreter, Linked},
    record::Record,
};
use crate::{
    compile::compile_all,
    matrix::Cell,
    python::{Workload, program},
};

/// Compilers for either C library.
const GLIBC: &str = "cc";
const MUSL: &str = "musl-gcc";

/// The program for a cell.
#[derive(Debug)]
pub struct Host {
    cell: Cell,
    /// `PYTHONHOME`.
    home: PathBuf,
    /// Whether the interpreter was built with `Py_DEBUG`.
    is_debug: bool,
    /// As this process sees it.
    folder: TempDir,
}

impl Host {
    /// Compiles the programs that hand thread states about; the error says what is missing.
    pub fn build(cell: &Cell, linked: Linked) -> Result<Self, String> {
        Self::of(cell, linked, &sources(), &OPTIONS)
    }

    /// Compiles a program of these sources; the error says what is missing.
    pub fn of(
        cell: &Cell,
        linked: Linked,
        sources: &[PathBuf],
        options: &[&str],
    ) -> Result<Self, String> {
        let interpreter =
            Interpreter::of(cell).ok_or("the interpreter's file is called otherwise")?;
        let (headers, library) = (interpreter.headers()?, interpreter.library(linked)?);
        let compiler = if is_musl(cell) { MUSL } else { GLIBC };
        if Command::new(compiler).arg("--version").output().is_err() {
            return Err(format!("there is no {compiler}"));
        }
        let folder = match &cell.root {
            Some(root) => tempfile::tempdir_in(root.join("tmp")),
            None => tempfile::tempdir(),
        };
        let folder = folder.expect("a temporary folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let file = folder.path().join("host");
        let library = if linked == Linked::Shared {
            // Beside the program, as its root may not have it.
            let copy = folder.path().join(library.file_name().expect("a file"));
            fs::copy(&library, &copy).expect("it can be copied");
            copy
        } else {
            library
        };
        let options = options.iter().chain(&ALWAYS);
        let mut arguments: Vec<String> = options.map(|&it| it.to_owned()).collect();
        arguments.extend(headers.iter().map(|it| format!("-I{}", it.display())));
        let library = library.display();
        if linked == Linked::Shared {
            arguments.push(library.to_string());
        } else {
            arguments.push(format!("-Wl,--whole-archive,{library},--no-whole-archive"));
            arguments.extend(STATIC.map(str::to_owned));
        }
        if linked == Linked::Stripped {
            arguments.push("-s".to_owned());
        }
        let libraries = interpreter.libraries();
        if libraries.is_empty() {
            arguments.extend(["-lpthread", "-lm"].map(str::to_owned));
        } else {
            arguments.extend(["-nodefaultlibs", "-lgcc"].map(str::to_owned));
            arguments.extend(libraries.iter().map(|it| it.display().to_string()));
            // What every program has in itself, of whichever glibc.
            arguments.push("-l:libc_nonshared.a".to_owned());
        }
        compile_all(compiler, sources, &file, &arguments);
        let inside = inside(cell, &file);
        Ok(Self {
            cell: cell.with_python(&inside),
            home: interpreter.home().to_owned(),
            is_debug: interpreter.is_debug(),
            folder,
        })
    }

    /// Why a program cannot be run in this cell, if it cannot.
    pub fn lacks(&self, name: &str) -> Option<&'static str> {
        let is_refused = match self.cell.minor {
            ..12 => [
                "made", "pool", "churned", "moved", "tasks", "fibers", "nested",
            ]
            .contains(&name),
            12.. => ["pool", "moved"].contains(&name),
        };
        if self.is_debug && is_refused {
            return Some(
                "a debug build of CPython fails an assertion if states move between threads",
            );
        }
        (is_musl(&self.cell) && ["tasks", "fibers"].contains(&name))
            .then_some("musl has no swapcontext")
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

    /// The cell, with the program for its interpreter.
    pub fn cell(&self) -> &Cell {
        &self.cell
    }

    /// Where the interpreter finds its modules.
    pub fn home(&self) -> &str {
        self.home.to_str().expect("a path of ASCII")
    }

    /// What a program has recorded.
    pub fn record(&self, name: &str) -> Record {
        Record::read(&self.record_path(name))
    }

    fn record_path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

const OPTIONS: [&str; 4] = [
    "-D_GNU_SOURCE",
    // No copies of the library's objects in the program.
    "-fPIC",
    "-fno-omit-frame-pointer",
    "-rdynamic",
];

/// The library is beside the program.
const ALWAYS: [&str; 1] = ["-Wl,-rpath,$ORIGIN"];

/// For an interpreter that is a part of the program. Debian's archive has hash functions that need a library which
/// is in no package; no program calls them.
const STATIC: [&str; 2] = ["-no-pie", "-Wl,--unresolved-symbols=ignore-in-object-files"];

fn is_musl(cell: &Cell) -> bool {
    cell.name.ends_with("-musl")
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

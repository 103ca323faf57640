//! Wheels of the Python package, and its source.
//!
//! One wheel serves CPython 3.10 and later with glibc, one with musl: they use the stable ABI. Builds without the GIL
//! have no stable ABI before 3.15, so each of their versions would need a separate wheel. `PyO3` 0.30 refuses 3.13, and
//! the test machines have neither 3.14 nor 3.15 without the GIL: a wheel that was never tested is not made.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};
use launcher::interpreter;
use xtask::{
    command::{self, say},
    pythons,
};

use crate::{
    folders::{self, Folders},
    materials,
    release::Release,
    reproducible::Places,
    tools::Tools,
};

/// A wheel to make.
#[derive(Debug)]
pub(crate) struct Wheel {
    /// The systems it is for, for people.
    pub(crate) what: &'static str,
    /// The end of its name: <https://packaging.python.org/en/latest/specifications/platform-compatibility-tags/>.
    pub(crate) tag: &'static str,
    /// The oldest system it is for, as maturin names it.
    compatibility: &'static str,
    target: &'static str,
    flags: &'static [&'static str],
    /// Which interpreter it is built for.
    pub(crate) kind: Kind,
}

/// Kinds of interpreters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any from 3.10 on with glibc.
    Usual,
    /// Any from 3.10 on with musl.
    Musl,
}

/// The minor versions of CPython 3 that the package is for.
const OLDEST: u8 = 10;
const NEWEST: u8 = 15;
/// The minor version of the interpreter with musl.
const MINOR_OF_MUSL: u8 = 13;
const GLIBC: &str = "x86_64-unknown-linux-gnu";
const MUSL: &str = "x86_64-unknown-linux-musl";

/// Those of a release.
pub(crate) const ALL: [Wheel; 2] = [
    Wheel {
        what: "CPython 3.10 and later, glibc 2.17 and later",
        tag: "cp310-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64",
        compatibility: "manylinux_2_17",
        target: GLIBC,
        flags: &[],
        kind: Kind::Usual,
    },
    Wheel {
        what: "CPython 3.10 and later, musl 1.2 and later",
        tag: "cp310-abi3-musllinux_1_2_x86_64",
        compatibility: "musllinux_1_2",
        target: MUSL,
        flags: &["-Ctarget-feature=-crt-static"],
        kind: Kind::Musl,
    },
];

/// The program in the environment of Zig's package.
pub(crate) fn zig_of(python: &Path) -> Result<PathBuf> {
    let script = "import os, ziglang; print(os.path.dirname(ziglang.__file__))";
    let folder = command::output(Command::new(python).args(["-I", "-c", script]))?;
    Ok(Path::new(folder.trim()).join("zig"))
}

impl Wheel {
    /// Its file, among others.
    pub(crate) fn file(&self, folder: &Path) -> Result<PathBuf> {
        let ending = format!("-{}.whl", self.tag);
        let is_it = |path: &PathBuf| path.to_string_lossy().ends_with(&ending);
        let Some(path) = folders::files(folder)?.into_iter().find(is_it) else {
            bail!("there is no wheel of {} in {}", self.tag, folder.display());
        };
        Ok(path)
    }

    /// Interpreters of its kind on this machine, with their minor versions.
    pub(crate) fn interpreters(&self) -> Result<Vec<(u8, PathBuf)>> {
        match self.kind {
            Kind::Musl => Ok(vec![(MINOR_OF_MUSL, pythons::ensure_musl()?)]),
            Kind::Usual => {
                let here = (OLDEST..=NEWEST).map(|minor| (minor, interpreter::of_minor(minor)));
                let here: Vec<_> = here
                    .filter_map(|(minor, program)| Some((minor, program?)))
                    .collect();
                if here.is_empty() {
                    bail!(interpreter::none_found());
                }
                Ok(here)
            }
        }
    }
}

/// Makes all of them.
pub(crate) fn make(tools: &Tools, release: &Release, folders: &Folders) -> Result<()> {
    let zig = tools.zig()?;
    for wheel in &ALL {
        say(&format!("building the wheel for {}", wheel.what));
        let mut maturin = maturin(tools, folders);
        maturin
            .args(["build", "--release", "--locked", "--zig"])
            .args(["--target", wheel.target])
            .args(["--compatibility", wheel.compatibility])
            .arg("--out")
            .arg(&folders.out)
            .env("CARGO_ZIGBUILD_ZIG_PATH", zig);
        Places::of(folders)?.apply(&mut maturin, wheel.flags, wheel.target, release);
        command::run(&mut maturin)?;
        wheel.file(&folders.out)?;
    }
    let mut source = maturin(tools, folders);
    source.args(["sdist", "--out"]).arg(&folders.out);
    Places::of(folders)?.apply(&mut source, &[], GLIBC, release);
    command::run(&mut source)?;
    materials::write(tools, release, folders, "python", "spanprof-python")
}

fn maturin(tools: &Tools, folders: &Folders) -> Command {
    let mut maturin = Command::new(tools.pip.folder().join("maturin"));
    maturin
        .current_dir(folders.source.join("python"))
        .env("CARGO_TARGET_DIR", folders.target.join("python"));
    maturin
}

//! Interpreters of which there are no packages, built from Debian's source of CPython 3.13.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::debian::Apt;
use crate::{
    command::{self, say},
    once::once,
};

/// A build.
pub(super) struct Build {
    /// The cell's name.
    pub(super) name: &'static str,
    /// What is special about it.
    pub(super) what: &'static str,
    /// Its minor version.
    pub(super) minor: u8,
    program: &'static str,
    configure: &'static [&'static str],
    is_musl: bool,
}

/// Without the GIL.
pub(super) static FREE_THREADED: Build = Build {
    name: "3.13t",
    what: "static, without the GIL",
    minor: 13,
    program: "python3.13t",
    configure: &["--disable-gil"],
    is_musl: false,
};

/// With another C library.
pub(super) static MUSL: Build = Build {
    name: "3.13-musl",
    what: "shared, musl",
    minor: 13,
    program: "python3.13",
    configure: &["--enable-shared"],
    is_musl: true,
};

/// The C compiler for musl. It must say what it compiles for, and needs the kernel's headers, which
/// musl's wrapper hides.
const COMPILER: &str = "#!/bin/sh
for argument; do
    [ \"$argument\" = --print-multiarch ] && { echo x86_64-linux-musl; exit; }
done
exec musl-gcc \"$@\" -idirafter HEADERS
";

impl Build {
    pub(super) fn program(&self, folder: &Path) -> PathBuf {
        folder.join(self.name).join("bin").join(self.program)
    }

    /// Builds it, unless that was done.
    pub(super) fn ensure(&self, folder: &Path) -> Result<()> {
        once(
            &folder.join(self.name),
            &self.configure.join(" "),
            |prefix| {
                if self.is_musl {
                    ensure_musl()?;
                }
                say(&format!(
                    "building CPython {} into {}: some three minutes",
                    self.name,
                    prefix.display()
                ));
                let scratch = tempfile::tempdir().context("failed to create a temporary folder")?;
                let apt = Apt::new("trixie")?;
                let source = apt.source("python3.13")?;
                self.build(&source, scratch.path(), prefix)
            },
        )
    }

    fn build(&self, source: &Path, scratch: &Path, prefix: &Path) -> Result<()> {
        let mut unpack = Command::new("tar");
        unpack
            .arg("-C")
            .arg(scratch)
            .args(["--strip-components=1", "-xf"])
            .arg(source);
        command::run(&mut unpack)?;
        let mut configure = Command::new("./configure");
        configure
            .arg(format!("--prefix={}", prefix.display()))
            .args(["-q", "--without-ensurepip", "--disable-test-modules"])
            .args(self.configure);
        // Its own library, if it has one.
        let library = format!("-Wl,-rpath,{}", prefix.join("lib").display());
        configure.env("LDFLAGS", library);
        if self.is_musl {
            // The libraries that pkg-config finds are made for another C library.
            configure
                .env("PKG_CONFIG_LIBDIR", "/nonexistent")
                .env("CC", compiler(scratch)?);
        }
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        let mut make = Command::new("make");
        make.args(["-s", "-j", &jobs.to_string()]);
        let mut install = Command::new("make");
        install.args(["-s", "altinstall"]);
        for command in [&mut configure, &mut make, &mut install] {
            quietly(command, scratch)?;
        }
        Ok(())
    }
}

/// Runs a command whose output is shown only if it fails.
fn quietly(command: &mut Command, folder: &Path) -> Result<()> {
    const LINES: usize = 20;
    let output = command
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("failed to start {command:?}"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let last: Vec<&str> = text.lines().rev().take(LINES).collect();
    let last = last.into_iter().rev().collect::<Vec<_>>().join("\n");
    bail!("{command:?} ended with {}:\n{last}", output.status)
}

fn compiler(scratch: &Path) -> Result<PathBuf> {
    let headers = scratch.join("kernel-headers");
    fs::create_dir_all(&headers)?;
    for (name, target) in [
        ("linux", "/usr/include/linux"),
        ("asm-generic", "/usr/include/asm-generic"),
        ("asm", "/usr/include/x86_64-linux-gnu/asm"),
    ] {
        symlink(target, headers.join(name))?;
    }
    let path = scratch.join("musl-cc");
    fs::write(
        &path,
        COMPILER.replace("HEADERS", &headers.display().to_string()),
    )?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

pub(super) fn ensure_musl() -> Result<()> {
    if command::find_on_path("musl-gcc").is_some() {
        return Ok(());
    }
    crate::python::apt_install("musl-tools", "there is no musl-gcc")
}

//! Makes a build independent of its folder and machine: paths of this machine are replaced by names, and the time is
//! that of the commit.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use xtask::command;

use crate::{
    folders::Folders,
    release::{self, Release},
};

/// Paths of this machine, and the names that replace them in the release.
#[derive(Debug)]
pub(crate) struct Places(Vec<(PathBuf, &'static str)>);

impl Places {
    /// The paths that compilers see.
    ///
    /// # Errors
    /// rustc does not report its folder.
    pub(crate) fn of(folders: &Folders) -> Result<Self> {
        let home = env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
            .context("this user has no home folder: set CARGO_HOME")?;
        let mut places = vec![
            (folders.source.clone(), "/spanprof"),
            (folders.target.clone(), "/build"),
            (sysroot()?.join("lib/rustlib/src/rust"), "/rust"),
        ];
        // The name of a registry's folder contains a checksum of its address, which may be that of a mirror.
        let registries = home.join("registry/src").read_dir().ok();
        for registry in registries.into_iter().flatten().flatten() {
            places.push((registry.path(), "/crates"));
        }
        for (path, _) in &places {
            ensure!(
                !path.to_string_lossy().contains(char::is_whitespace),
                "{} has a space in it, at which the flags of C compilers are split: build in another folder",
                path.display()
            );
        }
        Ok(Self(places))
    }

    /// Sets a command's environment: rustc's `flags` besides those for the paths, the C compiler's flags, and the time.
    pub(crate) fn apply(
        &self,
        command: &mut Command,
        flags: &[&str],
        target: &str,
        release: &Release,
    ) {
        let mut rustc: Vec<OsString> = flags.iter().map(OsString::from).collect();
        let mut c = OsString::new();
        for (from, to) in &self.0 {
            let mut flag = OsString::from("--remap-path-prefix=");
            flag.push(from);
            flag.push("=");
            flag.push(to);
            rustc.push(flag);
            c.push(" -ffile-prefix-map=");
            c.push(from);
            c.push("=");
            c.push(to);
        }
        command
            .env("CARGO_ENCODED_RUSTFLAGS", rustc.join(OsStr::new("\u{1f}")))
            .env(format!("CFLAGS_{}", target.replace('-', "_")), c)
            .env(release::EPOCH, release.epoch.to_string())
            .env(release::COMMIT, &release.commit)
            .env_remove("RUSTFLAGS")
            .env("LC_ALL", "C.UTF-8")
            .env("TZ", "UTC");
    }

    /// Paths that must not appear in the release.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().map(|(path, _)| path.as_path())
    }
}

/// The toolchain's folder.
pub(crate) fn sysroot() -> Result<PathBuf> {
    let path = command::output(Command::new("rustc").args(["--print", "sysroot"]))?;
    Ok(PathBuf::from(path.trim()))
}

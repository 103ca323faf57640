//! Interpreters from Debian's packages, unpacked with their dependencies into a separate folder.
//!
//! Apt works on a separate state, so that the system's packages are neither read nor changed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};
use launcher::preflight::KEYRING;

use crate::{
    command::{self, say},
    once::once,
};

/// A release of Debian.
pub(super) struct Suite {
    /// Its name.
    pub(super) name: &'static str,
    /// Packages to unpack, with their dependencies.
    packages: &'static [&'static str],
    /// Packages to unpack into a folder beside it, for programs that embed its interpreters: libraries and
    /// headers.
    development: &'static [&'static str],
    /// The interpreters in them.
    pub(super) interpreters: &'static [Interpreter],
}

/// An interpreter in a suite.
pub(super) struct Interpreter {
    /// The cell's name without the distribution.
    pub(super) name: &'static str,
    /// What is special about it.
    pub(super) what: &'static str,
    /// Its program in `/usr/bin`.
    pub(super) program: &'static str,
    /// Its minor version.
    pub(super) minor: u8,
}

const USUAL: &str = "static, stripped, LTO and PGO";
const DEBUG: &str = "static, not stripped, Py_DEBUG";

/// 11.
pub(super) static BULLSEYE: Suite = Suite {
    name: "bullseye",
    packages: &["python3.9", "python3.9-dbg"],
    development: &["libpython3.9", "libpython3.9-dev"],
    interpreters: &[
        Interpreter {
            name: "3.9",
            what: USUAL,
            program: "python3.9",
            minor: 9,
        },
        Interpreter {
            name: "3.9d",
            what: DEBUG,
            program: "python3.9d",
            minor: 9,
        },
    ],
};
/// 12.
pub(super) static BOOKWORM: Suite = Suite {
    name: "bookworm",
    packages: &["python3.11", "python3.11-dbg"],
    development: &["libpython3.11", "libpython3.11-dev"],
    interpreters: &[
        Interpreter {
            name: "3.11",
            what: USUAL,
            program: "python3.11",
            minor: 11,
        },
        Interpreter {
            name: "3.11d",
            what: DEBUG,
            program: "python3.11d",
            minor: 11,
        },
    ],
};
/// 13.
pub(super) static TRIXIE: Suite = Suite {
    name: "trixie",
    packages: &["python3.13"],
    development: &["libpython3.13", "libpython3.13-dev"],
    interpreters: &[Interpreter {
        name: "3.13",
        what: USUAL,
        program: "python3.13",
        minor: 13,
    }],
};
/// Unstable.
pub(super) static SID: Suite = Suite {
    name: "sid",
    packages: &["python3.14", "python3.15", "python3.15-dbg"],
    development: &[
        "libpython3.14",
        "libpython3.14-dev",
        "libpython3.15",
        "libpython3.15-dev",
    ],
    interpreters: &[
        Interpreter {
            name: "3.14",
            what: USUAL,
            program: "python3.14",
            minor: 14,
        },
        Interpreter {
            name: "3.15",
            what: "static, stripped, frame pointers",
            program: "python3.15",
            minor: 15,
        },
        Interpreter {
            name: "3.15d",
            what: DEBUG,
            program: "python3.15d",
            minor: 15,
        },
    ],
};

const MIRROR: &str = "http://deb.debian.org/debian";

impl Suite {
    /// Unpacks it, unless that was done.
    pub(super) fn ensure(&self, folder: &Path) -> Result<()> {
        once(&folder.join(self.name), &self.packages.join(" "), |root| {
            say(&format!(
                "fetching {} of Debian {} into {}",
                self.packages.join(", "),
                self.name,
                root.display()
            ));
            let apt = Apt::new(self.name)?;
            let mut wanted = vec!["base-files", "libc6"];
            wanted.extend(self.packages);
            let mut packages = apt.download(&wanted)?;
            // This package makes the links of a merged /usr, which the others are unpacked through.
            packages.sort_by_key(|path| !file_name(path).starts_with("base-files_"));
            for package in packages {
                unpack(&package, root)?;
            }
            for mount in ["dev", "proc", "spanprof/programs", "spanprof/packages"] {
                fs::create_dir_all(root.join(mount))?;
            }
            Ok(())
        })
    }
}

impl Suite {
    /// Unpacks what embedding its interpreters needs, unless that was done.
    pub(super) fn ensure_development(&self, folder: &Path) -> Result<()> {
        let folder = folder.join("development").join(self.name);
        once(&folder, &self.development.join(" "), |folder| {
            say(&format!(
                "fetching {} of Debian {} into {}",
                self.development.join(", "),
                self.name,
                folder.display()
            ));
            for package in Apt::new(self.name)?.download_alone(self.development)? {
                unpack(&package, folder)?;
            }
            Ok(())
        })
    }
}

/// Unpacks a package into a folder.
///
/// # Errors
/// dpkg cannot.
pub fn unpack(package: &Path, folder: &Path) -> Result<()> {
    command::run(Command::new("dpkg").arg("-x").arg(package).arg(folder))
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Apt with a separate state, which is removed at the end.
#[derive(Debug)]
pub struct Apt {
    state: tempfile::TempDir,
}

impl Apt {
    /// Apt for a release of Debian.
    ///
    /// # Errors
    /// This is not Debian or Ubuntu, or there is no network.
    pub fn new(suite: &str) -> Result<Self> {
        for program in ["apt-get", "dpkg"] {
            if command::find_on_path(program).is_none() {
                bail!("there is no {program}: this needs Debian or Ubuntu");
            }
        }
        if !Path::new(KEYRING).is_file() {
            let missing = "there is no keyring of Debian, whose interpreters are fetched";
            crate::python::apt_install("debian-archive-keyring", missing)?;
        }
        let state = tempfile::tempdir().context("failed to create a temporary folder")?;
        let path = state.path();
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(path.join(folder))?;
        }
        fs::write(path.join("status"), "")?;
        let source = format!("[signed-by={KEYRING}] {} {suite} main", mirror());
        fs::write(
            path.join("sources.list"),
            format!("deb {source}\ndeb-src {source}\n"),
        )?;
        let here = path.display();
        let settings = format!(
            "Dir::State \"{here}/state\";\nDir::State::status \"{here}/status\";\n\
             Dir::Cache \"{here}/cache\";\nDir::Etc::sourcelist \"{here}/sources.list\";\n\
             Dir::Etc::sourceparts \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
             APT::Install-Recommends \"false\";\nAPT::Architecture \"amd64\";\n\
             APT::Architectures {{ \"amd64\"; }};\nAPT::Sandbox::User \"\";\n\
             Acquire::Languages \"none\";\nDebug::NoLocking \"true\";\n"
        );
        fs::write(path.join("apt.conf"), settings)?;
        let apt = Self { state };
        command::run(&mut apt.command(&["update", "-qq"]))?;
        Ok(apt)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("apt-get");
        command
            .args(arguments)
            .env("APT_CONFIG", self.state.path().join("apt.conf"))
            .current_dir(self.state.path());
        command
    }

    /// Downloads packages with their dependencies.
    pub(crate) fn download(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let mut command = self.command(&["install", "-qq", "--yes", "--download-only"]);
        command::run(command.args(packages))?;
        files(&self.state.path().join("cache/archives"), ".deb")
    }

    /// Downloads packages without their dependencies.
    ///
    /// # Errors
    /// The release does not have one, or there is no network.
    pub fn download_alone(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        command::run(self.command(&["download", "-qq"]).args(packages))?;
        files(self.state.path(), ".deb")
    }

    /// Downloads the original source of a package.
    pub(super) fn source(&self, package: &str) -> Result<PathBuf> {
        command::run(
            self.command(&["source", "-qq", "--download-only"])
                .arg(package),
        )?;
        let files = files(self.state.path(), ".orig.tar.xz")?;
        files.into_iter().next().context("apt-get left no source")
    }
}

/// Files of a folder whose names end in this, sorted by name.
fn files(folder: &Path, suffix: &str) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = folder
        .read_dir()
        .with_context(|| format!("failed to list {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| file_name(path).ends_with(suffix))
        .collect();
    found.sort();
    Ok(found)
}

/// The mirror that this machine uses, if it runs Debian; else the public one.
pub fn mirror() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let sources = read("/etc/apt/sources.list.d/debian.sources");
    let list = read("/etc/apt/sources.list");
    let uri = sources
        .lines()
        .find_map(|line| line.strip_prefix("URIs:")?.split_whitespace().next());
    let old = list
        .lines()
        .filter(|line| line.starts_with("deb "))
        .find_map(|line| {
            line.split_whitespace()
                .find(|word| word.ends_with("/debian"))
        });
    uri.or(old).unwrap_or(MIRROR).to_owned()
}

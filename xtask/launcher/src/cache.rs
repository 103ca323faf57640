//! The folder outside the tree that xtask fetches into, and the list of what else it has installed on the machine.

use std::{env, fs, io::Write as _, path::PathBuf};

use crate::Result;

/// The variable that names another folder.
pub const VARIABLE: &str = "SPANPROF_CACHE";
/// The file in that folder that lists what was installed.
const LEDGER: &str = "installed";

/// The folder: `SPANPROF_CACHE`, else `spanprof` in the user's cache.
///
/// # Errors
/// The user has no home.
pub fn folder() -> Result<PathBuf> {
    let of = |variable: &str| {
        env::var_os(variable)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    of(VARIABLE)
        .or_else(|| Some(of("XDG_CACHE_HOME")?.join("spanprof")))
        .or_else(|| Some(of("HOME")?.join(".cache/spanprof")))
        .ok_or_else(|| format!("this user has no home folder: set {VARIABLE}"))
}

/// Something that xtask has installed outside its cache, for `cargo xtask clean` to remove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Installed {
    /// A toolchain of rustup.
    Toolchain(String),
    /// A component that was added to an existing toolchain.
    Component(String, String),
    /// A target that was added to a toolchain.
    Target(String, String),
    /// A package of Debian or Ubuntu.
    Package(String),
}

impl Installed {
    fn line(&self) -> String {
        match self {
            Self::Toolchain(name) => format!("toolchain {name}"),
            Self::Component(toolchain, name) => format!("component {toolchain} {name}"),
            Self::Target(toolchain, name) => format!("target {toolchain} {name}"),
            Self::Package(name) => format!("package {name}"),
        }
    }

    /// Its name, for people.
    pub fn name(&self) -> String {
        match self {
            Self::Toolchain(name) => format!("toolchain {name}"),
            Self::Component(toolchain, name) => {
                format!("component {name} of toolchain {toolchain}")
            }
            Self::Target(toolchain, name) => format!("target {name} of toolchain {toolchain}"),
            Self::Package(name) => format!("package {name}"),
        }
    }

    fn read(line: &str) -> Option<Self> {
        let owned = str::to_owned;
        match *line.split(' ').collect::<Vec<_>>().as_slice() {
            ["toolchain", name] => Some(Self::Toolchain(owned(name))),
            ["component", toolchain, name] => Some(Self::Component(owned(toolchain), owned(name))),
            ["target", toolchain, name] => Some(Self::Target(owned(toolchain), owned(name))),
            ["package", name] => Some(Self::Package(owned(name))),
            _ => None,
        }
    }

    /// Adds it to the list, after it was installed.
    ///
    /// # Errors
    /// The list cannot be written.
    pub fn note(&self) -> Result<()> {
        if all().contains(self) {
            return Ok(());
        }
        let folder = folder()?;
        let path = folder.join(LEDGER);
        fs::create_dir_all(&folder)
            .and_then(|()| fs::OpenOptions::new().create(true).append(true).open(&path))
            .and_then(|mut file| writeln!(file, "{}", self.line()))
            .map_err(|error| format!("failed to write {}: {error}", path.display()))
    }
}

/// The entries of the list, oldest first; nothing if there is no list.
pub fn all() -> Vec<Installed> {
    let text = folder()
        .ok()
        .and_then(|folder| fs::read_to_string(folder.join(LEDGER)).ok())
        .unwrap_or_default();
    text.lines().filter_map(Installed::read).collect()
}

#[cfg(test)]
mod tests {
    use super::Installed;

    /// Entries that were written are read again; other lines are ignored.
    #[test]
    fn lines() {
        for installed in [
            Installed::Toolchain("1.98.0".to_owned()),
            Installed::Component("1.98.0".to_owned(), "clippy".to_owned()),
            Installed::Target("1.98.0".to_owned(), "x86_64-unknown-linux-musl".to_owned()),
            Installed::Package("runc".to_owned()),
        ] {
            assert_eq!(Installed::read(&installed.line()), Some(installed));
        }
        assert_eq!(Installed::read("package two words"), None);
        assert_eq!(Installed::read(""), None);
    }
}

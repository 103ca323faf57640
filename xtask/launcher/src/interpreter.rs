//! Which CPython interpreters this machine has.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::command::{find_on_path, probe};

/// The versions that the package and all workloads are tested on, if they are installed.
pub const VERSIONS: [&str; 4] = ["3.10", "3.11", "3.12", "3.13"];

/// The minor versions that the agent knows.
const SUPPORTED: std::ops::RangeInclusive<u8> = 8..=15;

/// The first minor version that the package, and so the demo, runs on.
const OLDEST: u8 = 10;

/// Names interpreters to use before all others, separated by colons.
pub const VARIABLE: &str = "SPANPROF_PYTHONS";

/// One interpreter per version of [`VERSIONS`] that was found.
pub fn find() -> BTreeMap<&'static str, PathBuf> {
    let minor = |version: &str| version.strip_prefix("3.")?.parse().ok();
    let found = VERSIONS.into_iter();
    found
        .filter_map(|version| Some((version, of_minor(minor(version)?)?)))
        .collect()
}

/// Every CPython 3.8 to 3.15 of this machine, by path.
pub fn supported() -> Vec<PathBuf> {
    let programs: BTreeSet<&PathBuf> = all().iter().map(|(_, program)| program).collect();
    programs.into_iter().cloned().collect()
}

/// The same with their minor versions, the preferred first. Each is asked only once, because asking starts it.
///
/// The variable comes first, then pyenv, `/usr/bin` and `PATH`: an explicit choice wins, and pyenv
/// names its versions without the risk of a shim that refuses to run.
fn all() -> &'static [(u8, PathBuf)] {
    static FOUND: OnceLock<Vec<(u8, PathBuf)>> = OnceLock::new();
    FOUND.get_or_init(|| {
        let found = candidates().into_iter();
        let found = found.filter_map(|candidate| ask(&candidate));
        found
            .filter(|(minor, _)| SUPPORTED.contains(minor))
            .collect()
    })
}

/// An interpreter to build and show things with: the `python3` of `PATH` from 3.10 on, else the newest
/// that is found.
pub fn any() -> Option<PathBuf> {
    let python = find_on_path("python3").and_then(|python| ask(&python));
    let recent = python.filter(|(minor, _)| *minor >= OLDEST);
    recent.or_else(newest).map(|(_, program)| program)
}

/// The newest from 3.10 on in any of these places, with its minor version.
pub fn newest() -> Option<(u8, PathBuf)> {
    let mut minors = (OLDEST..=*SUPPORTED.end()).rev();
    minors.find_map(|minor| Some((minor, of_minor(minor)?)))
}

/// The message if there is none.
pub fn none_found() -> String {
    format!(
        "found no CPython 3.{OLDEST} or newer; on Debian and Ubuntu: apt-get install python3 python3-venv; \
         or name one in {VARIABLE}"
    )
}

/// An interpreter of the machine, of a minor version of CPython 3, if there is one.
pub fn of_minor(minor: u8) -> Option<PathBuf> {
    let found = all().iter().find(|(found, _)| *found == minor);
    found.map(|(_, program)| program.clone())
}

fn candidates() -> Vec<PathBuf> {
    let mut candidates = Vec::new();
    if let Some(paths) = env::var_os(VARIABLE) {
        candidates.extend(env::split_paths(&paths));
    }
    let pyenv = env::var_os("HOME")
        .and_then(|home| Path::new(&home).join(".pyenv/versions").read_dir().ok());
    let mut pythons: Vec<_> = pyenv
        .into_iter()
        .flatten()
        .flatten()
        .map(|version| version.path().join("bin/python3"))
        .collect();
    pythons.sort();
    candidates.extend(pythons);
    for minor in SUPPORTED {
        let name = format!("python3.{minor}");
        candidates.push(Path::new("/usr/bin").join(&name));
        candidates.extend(find_on_path(&name));
    }
    candidates.extend(find_on_path("python3"));
    candidates.retain(|candidate| candidate.is_file());
    candidates
}

/// The minor version of a default build of CPython 3 and the path of its program (a shim only leads to it);
/// `None` for any other interpreter.
fn ask(python: &Path) -> Option<(u8, PathBuf)> {
    const QUESTION: &str = "import sys, sysconfig; \
        print(sys.version_info[1], sys.executable) if sys.implementation.name == 'cpython' \
        and sys.version_info[0] == 3 and not sysconfig.get_config_var('Py_GIL_DISABLED') else None";
    let said = probe(Command::new(python).args(["-I", "-c", QUESTION]))?;
    let (minor, program) = said.split_once(' ')?;
    Some((minor.parse().ok()?, PathBuf::from(program)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::ask;

    /// A program that is not Python has no version.
    #[test]
    fn not_a_python() {
        assert_eq!(ask(Path::new("/bin/true")), None);
        assert_eq!(ask(Path::new("/nonexistent")), None);
    }
}

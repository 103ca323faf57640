//! Which CPython interpreters are at hand for the tests.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;

/// The versions the end-to-end tests run on: those the agent supports.
pub(crate) const VERSIONS: [&str; 4] = ["3.10", "3.11", "3.12", "3.13"];

/// Names interpreters to use before all others, separated by colons.
pub(crate) const VARIABLE: &str = "SPANPROF_PYTHONS";

/// One interpreter per version of [`VERSIONS`] that was found.
///
/// The variable comes first, then pyenv, `/usr/bin` and `PATH`: an explicit choice wins, and pyenv
/// names its versions without the risk of a shim that refuses to run.
pub(crate) fn find() -> BTreeMap<&'static str, PathBuf> {
    let mut found = BTreeMap::new();
    for candidate in candidates() {
        if found.len() == VERSIONS.len() {
            break;
        }
        let Some(version) = version(&candidate) else {
            continue;
        };
        if let Some(wanted) = VERSIONS.into_iter().find(|wanted| **wanted == version) {
            found.entry(wanted).or_insert(candidate);
        }
    }
    found
}

/// An interpreter to build and show things with: the `python3` of `PATH` when supported, else any.
pub(crate) fn any() -> Option<PathBuf> {
    let python = command::find_on_path("python3");
    let supported = python.filter(|python| {
        version(python).is_some_and(|version| VERSIONS.contains(&version.as_str()))
    });
    supported.or_else(|| find().into_values().next_back())
}

fn candidates() -> Vec<PathBuf> {
    let mut candidates = Vec::new();
    if let Some(paths) = env::var_os(VARIABLE) {
        candidates.extend(env::split_paths(&paths));
    }
    if let Some(home) = env::var_os("HOME")
        && let Ok(versions) = Path::new(&home).join(".pyenv/versions").read_dir()
    {
        let mut pythons: Vec<_> = versions
            .flatten()
            .map(|version| version.path().join("bin/python3"))
            .collect();
        pythons.sort();
        candidates.extend(pythons);
    }
    for version in VERSIONS {
        let name = format!("python{version}");
        candidates.push(Path::new("/usr/bin").join(&name));
        candidates.extend(command::find_on_path(&name));
    }
    candidates.extend(command::find_on_path("python3"));
    candidates.retain(|candidate| candidate.is_file());
    candidates
}

/// The minor version of a default build of CPython; nothing for any other interpreter.
fn version(python: &Path) -> Option<String> {
    const QUESTION: &str = "import sys, sysconfig; \
        print('%d.%d' % sys.version_info[:2]) if sys.implementation.name == 'cpython' \
        and not sysconfig.get_config_var('Py_GIL_DISABLED') else None";
    command::probe(Command::new(python).args(["-I", "-c", QUESTION]))
        .filter(|said| !said.is_empty())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::version;

    /// A program that is no Python has no version.
    #[test]
    fn not_a_python() {
        assert_eq!(version(Path::new("/bin/true")), None);
        assert_eq!(version(Path::new("/nonexistent")), None);
    }
}

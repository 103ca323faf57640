//! What the tests run on: interpreters, with the packages that they need.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use launcher::interpreter;

use super::lacking;
use crate::command;
use crate::python::{self, Environment, Pip};
use crate::pythons;
use crate::summary::Summary;
use crate::workspace::Workspace;

/// Releases of OpenTelemetry whose spans must be read, beside the one of `tests/requirements.txt`.
const RELEASES: [&str; 4] = ["1.20.0", "1.25.0", "1.30.0", "1.38.0"];

/// A test of half a minute, most of which measures somebody else.
const MEASURES_A_PEER: &str = "beside_the_peer";

/// What was prepared.
pub(super) struct Pythons {
    /// An interpreter per version, oldest first, each in a virtual environment with the package and
    /// `tests/requirements.txt`.
    pub(super) environments: BTreeMap<&'static str, PathBuf>,
    /// The same as the tests read it.
    pub(super) list: String,
    /// Interpreters with earlier releases of OpenTelemetry, as the tests read them.
    pub(super) releases: String,
    /// The folder of a virtual environment with programs of others.
    pub(super) peers: PathBuf,
    /// The file with the cells of the matrix.
    pub(super) matrix: PathBuf,
    /// Parts of the names of tests that are not for this run.
    pub(super) left_out: Vec<String>,
}

impl Pythons {
    /// Installs what is missing; what cannot be had is added to the skipped, or in CI to the failed.
    pub(super) fn prepare(workspace: &Workspace, all: bool, total: &mut Summary) -> Result<Self> {
        let mut interpreters = interpreter::find();
        let mut left_out = Vec::new();
        let newest = interpreters.keys().next_back().copied();
        for version in interpreter::VERSIONS {
            let is_wanted = all || newest.is_none_or(|newest| newest == version);
            if !is_wanted {
                interpreters.remove(version);
                left_out.push(format!("python_{}", version.replace('.', "_")));
            } else if !interpreters.contains_key(version) {
                *total += lacking(&format!(
                    "CPython {version} was not found; install it (pyenv install {version}, or the \
                     distribution's python{version}) or name it in {}",
                    interpreter::VARIABLE
                ));
                left_out.push(format!("python_{}", version.replace('.', "_")));
            }
        }
        if !all {
            left_out.push(MEASURES_A_PEER.to_owned());
        }
        let pip = Pip::ensure(workspace)?;
        let (wheel, inputs) = python::ensure_wheel(workspace, &pip)?;
        let package = [wheel.display().to_string()];
        let requirements = [workspace.root.join("tests/requirements.txt")];
        let for_peers = [workspace.root.join("tests/requirements-peers.txt")];
        let folder = workspace.target.join("pythons");
        let releases: &[&str] = if all { &RELEASES } else { &RELEASES[..1] };
        let of_release = |release: &&str| [format!("opentelemetry-sdk=={release}")];
        let packages_of_releases: Vec<[String; 1]> = releases.iter().map(of_release).collect();

        let mut wanted: Vec<Environment<'_>> = interpreters
            .iter()
            .map(|(version, interpreter)| Environment {
                folder: folder.join(version),
                interpreter,
                requirements: &requirements,
                packages: &package,
                inputs,
            })
            .collect();
        if let (Some(oldest), Some(newest)) = (
            interpreters.values().next(),
            interpreters.values().next_back(),
        ) {
            for (release, packages) in releases.iter().zip(&packages_of_releases) {
                wanted.push(Environment {
                    folder: folder.join(format!("opentelemetry-{release}")),
                    interpreter: oldest,
                    requirements: &[],
                    packages,
                    inputs: 0,
                });
            }
            wanted.push(Environment {
                folder: folder.join("peers"),
                interpreter: newest,
                requirements: &for_peers,
                packages: &[],
                inputs: 0,
            });
        }
        python::ensure_all(&wanted, &pip)?;
        let environments: BTreeMap<&'static str, PathBuf> = interpreters
            .keys()
            .map(|version| (*version, folder.join(version).join("bin/python")))
            .collect();
        *total += containers();
        let cells = pythons::ensure(workspace, all, &pip)?;
        for reason in &cells.missing {
            *total += lacking(reason);
        }
        left_out.extend(cells.left_out);
        Ok(Self {
            list: list(
                environments
                    .iter()
                    .map(|(version, python)| (*version, python.clone())),
            ),
            releases: list(releases.iter().map(|release| {
                (
                    *release,
                    folder.join(format!("opentelemetry-{release}/bin/python")),
                )
            })),
            peers: folder.join("peers"),
            matrix: pythons::write_matrix(workspace, &cells.all)?,
            environments,
            left_out,
        })
    }
}

/// `3.10=/path:3.11=/path`.
fn list<'a>(pythons: impl Iterator<Item = (&'a str, PathBuf)>) -> String {
    pythons
        .map(|(version, python)| format!("{version}={}", python.display()))
        .collect::<Vec<_>>()
        .join(":")
}

/// What runs containers, installed where that is possible.
fn containers() -> Summary {
    if command::find_on_path("runc").is_some() {
        return Summary::default();
    }
    match python::apt_install("runc", "there is no runc to run containers with")
        .context("containers are not tested")
    {
        Ok(()) => Summary::default(),
        Err(error) => lacking(&format!("{error:#}")),
    }
}

//! Prepares what the tests run on: interpreters, with the packages that they need.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use launcher::interpreter;

use super::{lacking, logfire};
use crate::command;
use crate::example;
use crate::golang;
use crate::python::{self, Environment, Pip};
use crate::pythons;
use crate::summary::Summary;
use crate::workspace::Workspace;

/// Releases of OpenTelemetry whose spans the agent must read, besides the one of `tests/requirements.txt`.
const RELEASES: [&str; 4] = ["1.20.0", "1.25.0", "1.30.0", "1.38.0"];

/// A test of half a minute, most of which it spends measuring another profiler.
const MEASURES_A_PEER: &str = "beside_the_peer";
/// Runs a real Prometheus.
const NEEDS_PROMETHEUS: &str = "telemetry::prometheus";

/// What every test with Python needs.
pub(super) struct Pythons {
    /// The interpreters themselves, by version.
    interpreters: BTreeMap<String, PathBuf>,
    /// One per version, oldest first, each in a virtual environment with the package and
    /// `tests/requirements.txt`.
    pub(super) environments: BTreeMap<String, PathBuf>,
    /// The same in the form that the tests read.
    pub(super) list: String,
    /// Parts of the names of tests that are not for this run.
    pub(super) left_out: Vec<String>,
    pip: Pip,
}

/// What the end-to-end tests need besides.
pub(super) struct ForEndToEnd {
    /// Interpreters with earlier releases of OpenTelemetry, as the tests read them.
    pub(super) releases: String,
    /// Interpreters with the package and releases of Logfire, in the same form.
    pub(super) logfires: String,
    /// The folder of a virtual environment with other projects' programs.
    pub(super) peers: PathBuf,
    /// The interpreter of the example's services.
    pub(super) example: PathBuf,
    /// The program `go`.
    pub(super) go: PathBuf,
    /// A real Collector.
    pub(super) collector: PathBuf,
    /// The file with the cells of the matrix.
    pub(super) matrix: PathBuf,
    /// Parts of the names of tests that are not for this run.
    pub(super) left_out: Vec<String>,
    /// Folder of the programs of Prometheus.
    pub(super) prometheus: PathBuf,
}

impl Pythons {
    /// Installs what is missing; what cannot be installed counts as skipped, or in CI as failed.
    pub(super) fn prepare(workspace: &Workspace, all: bool, total: &mut Summary) -> Result<Self> {
        let (interpreters, left_out) = choose(all, total)?;
        let pip = Pip::ensure(workspace)?;
        let (wheel, inputs) = python::ensure_wheel(workspace, &pip)?;
        let package = [wheel.display().to_string()];
        let requirements = [workspace.root.join("tests/requirements.txt")];
        let folder = folder(workspace);
        let wanted: Vec<Environment<'_>> = interpreters
            .iter()
            .map(|(version, interpreter)| Environment {
                folder: folder.join(version),
                interpreter,
                requirements: &requirements,
                packages: &package,
                inputs,
            })
            .collect();
        python::ensure_all(&wanted, &pip)?;
        let environments: BTreeMap<String, PathBuf> = interpreters
            .keys()
            .map(|version| (version.clone(), folder.join(version).join("bin/python")))
            .collect();
        Ok(Self {
            list: list(&environments),
            interpreters,
            environments,
            left_out,
            pip,
        })
    }

    /// The same for what the end-to-end tests need besides.
    pub(super) fn prepare_more(
        &self,
        workspace: &Workspace,
        all: bool,
        total: &mut Summary,
    ) -> Result<ForEndToEnd> {
        let folder = folder(workspace);
        let for_peers = [workspace.root.join("tests/requirements-peers.txt")];
        let oldest = self
            .interpreters
            .values()
            .next()
            .context("no interpreter")?;
        let newest = self
            .interpreters
            .values()
            .next_back()
            .context("no interpreter")?;
        let releases: &[&str] = if all { &RELEASES } else { &RELEASES[..1] };
        let packages: Vec<[String; 1]> = releases
            .iter()
            .map(|release| [format!("opentelemetry-sdk=={release}")])
            .collect();
        let of_release = |release: &str| folder.join(format!("opentelemetry-{release}"));
        let mut wanted: Vec<Environment<'_>> = releases
            .iter()
            .zip(&packages)
            .map(|(release, packages)| Environment {
                folder: of_release(release),
                interpreter: oldest,
                requirements: &[],
                packages,
                inputs: 0,
            })
            .collect();
        let peers = folder.join("peers");
        wanted.push(Environment {
            folder: peers.clone(),
            interpreter: newest,
            requirements: &for_peers,
            packages: &[],
            inputs: 0,
        });
        python::ensure_all(&wanted, &self.pip)?;
        *total += containers();
        let cells = pythons::ensure(workspace, all, &self.pip)?;
        for reason in &cells.missing {
            *total += lacking(reason);
        }
        let prometheus = pythons::ensure_prometheus(workspace);
        let mut left_out = cells.left_out;
        if let Err(error) = &prometheus {
            *total += lacking(&format!("Prometheus cannot be fetched: {error:#}"));
            left_out.push(NEEDS_PROMETHEUS.to_owned());
        }
        if !all {
            left_out.push(MEASURES_A_PEER.to_owned());
        }
        let releases = releases.iter().map(|release| {
            (
                (*release).to_owned(),
                of_release(release).join("bin/python"),
            )
        });
        Ok(ForEndToEnd {
            releases: list(&releases.collect()),
            logfires: list(&logfire::ensure(workspace, &folder, newest, &self.pip)?),
            peers,
            example: example::services(workspace, &self.pip)?,
            go: golang::go(workspace, &self.pip)?,
            collector: golang::program(workspace, &self.pip, "collector")?,
            matrix: pythons::write_matrix(workspace, &cells.all)?,
            prometheus: prometheus.unwrap_or_default(),
            left_out,
        })
    }
}

/// The folder of the environments.
fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("pythons")
}

/// The interpreters to test on, by version, and parts of the names of tests on the others.
fn choose(all: bool, total: &mut Summary) -> Result<(BTreeMap<String, PathBuf>, Vec<String>)> {
    let found = interpreter::find();
    let newest = found.keys().next_back().copied();
    let mut chosen = BTreeMap::new();
    let mut left_out = Vec::new();
    for version in interpreter::VERSIONS {
        let is_wanted = all || newest == Some(version);
        match found.get(version) {
            Some(interpreter) if is_wanted => {
                chosen.insert(version.to_owned(), interpreter.clone());
                continue;
            }
            None if all => {
                *total += lacking(&format!(
                    "CPython {version} was not found; install it (pyenv install {version}, or the \
                     distribution's python{version}) or name it in {}",
                    interpreter::VARIABLE
                ));
            }
            _ => {}
        }
        left_out.push(format!("python_{}", version.replace('.', "_")));
    }
    if chosen.is_empty() {
        let (minor, newer) = interpreter::newest().with_context(interpreter::none_found)?;
        *total += lacking(&format!(
            "tests of one CPython 3.10 to 3.13: this machine has only CPython 3.{minor}, on which the others run"
        ));
        chosen.insert(format!("3.{minor}"), newer);
    }
    Ok((chosen, left_out))
}

/// `3.10=/path:3.11=/path`.
fn list(pythons: &BTreeMap<String, PathBuf>) -> String {
    pythons
        .iter()
        .map(|(version, python)| format!("{version}={}", python.display()))
        .collect::<Vec<_>>()
        .join(":")
}

/// Programs that run containers and pods, with their packages and the message if they are missing.
const CONTAINERS: [(&str, &str, &str); 2] = [
    ("runc", "runc", "there is no runc to run containers with"),
    (
        "ip",
        "iproute2",
        "there is no ip to make networks of pods with",
    ),
];

/// The program that runs containers, installed if that is possible.
fn containers() -> Summary {
    let mut summary = Summary::default();
    for (program, package, missing) in CONTAINERS {
        if command::find_for_root(program).is_some() {
            continue;
        }
        let installed = python::apt_install(package, missing).context("containers are not tested");
        if let Err(error) = installed {
            summary += lacking(&format!("{error:#}"));
        }
    }
    summary
}

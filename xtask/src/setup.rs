//! Installs what the workspace needs and this machine lacks.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use crate::command::say;
use crate::interpreter;
use crate::python::{self, Environment};
use crate::toolchain;
use crate::workspace::Workspace;

/// Install what is missing: toolchains, bpf-linker, the demo's virtual environment.
///
/// Says what it installs. Touches rustup's toolchains and the target folder, nothing else; as root
/// on Debian also the package of Python's venv module, if that is missing.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only these parts (all, if not given)
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The stable and the BPF toolchain
    Toolchains,
    /// bpf-linker
    Linker,
    /// The virtual environment of the demo
    Demo,
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::locate()?;
    let wants = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    if wants(Part::Toolchains) {
        toolchain::ensure_stable(&workspace)?;
        toolchain::ensure_bpf_toolchain()?;
    }
    if wants(Part::Linker) {
        toolchain::ensure_tool(&workspace, &toolchain::BPF_LINKER)?;
    }
    if wants(Part::Demo) {
        demo_environment(&workspace)?;
    }
    say("everything is in place");
    Ok(())
}

/// The interpreter of the demo's virtual environment, made if it is missing or outdated.
pub(crate) fn demo_environment(workspace: &Workspace) -> Result<PathBuf> {
    let interpreter = interpreter::any().with_context(|| {
        format!(
            "found no CPython of {}; name one in {}",
            interpreter::VERSIONS.join(", "),
            interpreter::VARIABLE
        )
    })?;
    let mut packages = Vec::new();
    let mut inputs = 0;
    if workspace.has_python_package() {
        let (wheel, sources) = python::ensure_wheel(workspace, &interpreter)?;
        packages.push(wheel.display().to_string());
        inputs = sources;
    } else {
        say("no Python package in this tree: its virtual environment goes without");
    }
    Environment {
        folder: workspace.target.join("venv"),
        interpreter: &interpreter,
        requirements: &[workspace.root.join("examples/flask/requirements.txt")],
        packages: &packages,
        inputs,
    }
    .ensure()
}

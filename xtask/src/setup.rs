//! Installs what the workspace needs and the machine does not have.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::ValueEnum;
use launcher::interpreter;

use crate::command::say;
use crate::python::{self, Environment, Pip};
use crate::toolchain;
use crate::workspace::Workspace;

/// Install what is missing: toolchains, bpf-linker, the demo's virtual environment
///
/// Says what it installs. It changes only rustup's toolchains and the target folder; as root on Debian it also
/// installs the package of Python's venv module, if that is missing.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only these parts (all, if not given)
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Both toolchains, with the components for the checks, and bpf-linker
    Toolchains,
    /// The virtual environment of the demo
    Demo,
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::locate()?;
    let wants = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    if wants(Part::Toolchains) {
        toolchain::ensure_stable(&workspace, &["clippy", "rustfmt"])?;
        toolchain::ensure_bpf(&workspace)?;
    }
    if wants(Part::Demo) {
        demo_environment(&workspace)?;
    }
    say("everything is in place");
    Ok(())
}

/// The interpreter of the demo's virtual environment, made if it is missing or outdated.
pub(crate) fn demo_environment(workspace: &Workspace) -> Result<PathBuf> {
    let interpreter = interpreter::any().with_context(interpreter::none_found)?;
    let pip = Pip::ensure(workspace)?;
    let (wheel, inputs) = python::ensure_wheel(workspace, &pip)?;
    let packages = [wheel.display().to_string()];
    Environment {
        folder: workspace.target.join("venv"),
        interpreter: &interpreter,
        requirements: &[workspace.root.join("examples/flask/requirements.txt")],
        packages: &packages,
        inputs,
    }
    .ensure(&pip)
}

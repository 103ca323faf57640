//! Formatting, clippy, licences, layers, Python style.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Error, Result, bail};
use launcher::interpreter;

use crate::command::{self, say};
use crate::python::{Environment, Pip};
use crate::toolchain;
use crate::workspace::{Workspace, files_below};
use crate::{layers, programs};

/// Check formatting, clippy, licences, layers and Python style
///
/// Every check runs, even after one has failed; the failures are listed at the end. Installs
/// cargo-deny and ruff under the target folder, if they are missing.
#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// Fix what can be fixed: formatting, and what clippy and ruff can rewrite
    #[arg(long)]
    fix: bool,
}

type Check = fn(&Workspace, bool) -> Result<()>;

const CHECKS: [(&str, Check); 7] = [
    ("rustfmt", rustfmt),
    ("layers", |workspace, _| layers::check(workspace)),
    ("ruff", ruff),
    ("clippy", clippy),
    ("clippy of the BPF programs", clippy_bpf),
    ("clippy of the Python package", clippy_python),
    ("cargo-deny", deny),
];

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::locate()?;
    toolchain::ensure_stable(&workspace, &["clippy", "rustfmt"])?;
    let mut failed = Vec::new();
    for (name, check) in CHECKS {
        say(&format!("lint: {name}"));
        if let Err(error) = check(&workspace, arguments.fix) {
            say(&format!("{name}: {error:#}"));
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("lint failed: {}", failed.join(", "));
    }
    say("lint: all clean");
    Ok(())
}

fn rustfmt(workspace: &Workspace, fix: bool) -> Result<()> {
    let check: &[&str] = if fix { &[] } else { &["--check"] };
    command::run(workspace.cargo()?.args(["fmt", "--all", "--"]).args(check))?;
    command::run(
        workspace
            .cargo()?
            .args(["fmt", "--manifest-path", "python/Cargo.toml", "--"])
            .args(check),
    )
}

/// `clippy` with the arguments that all our crates share.
fn clippy_arguments(command: &mut Command, fix: bool) -> &mut Command {
    command.arg("clippy");
    if fix {
        command.args(["--fix", "--allow-dirty", "--allow-staged"]);
    }
    command
}

fn clippy(workspace: &Workspace, fix: bool) -> Result<()> {
    let mut command = workspace.cargo_with_programs()?;
    clippy_arguments(&mut command, fix)
        .args(["--workspace", "--exclude", "profiler-ebpf", "--all-targets"])
        .args(["--", "--deny", "warnings"]);
    command::run(&mut command)
}

fn clippy_bpf(workspace: &Workspace, fix: bool) -> Result<()> {
    let toolchain = toolchain::bpf_toolchain(workspace, &["rust-src", "clippy"]);
    toolchain.ensure().map_err(Error::msg)?;
    let mut command = toolchain.command("cargo");
    command
        .current_dir(&workspace.root)
        .env("PATH", workspace.path_with_tools()?)
        .env("CARGO_ENCODED_RUSTFLAGS", programs::MACHINE);
    clippy_arguments(&mut command, fix)
        .args([
            "--package",
            "profiler-ebpf",
            "--target",
            programs::TARGET,
            "-Z",
            "build-std=core",
        ])
        .args(["--", "--deny", "warnings"]);
    command::run(&mut command)
}

fn clippy_python(workspace: &Workspace, fix: bool) -> Result<()> {
    let mut command = workspace.cargo()?;
    clippy_arguments(&mut command, fix)
        .args([
            "--manifest-path",
            "python/Cargo.toml",
            "--all-targets",
            "--target-dir",
        ])
        .arg(workspace.target.join("python-package"))
        .args(["--", "--deny", "warnings"]);
    command::run(&mut command)
}

fn deny(workspace: &Workspace, _: bool) -> Result<()> {
    let program = toolchain::ensure_tool(workspace, &toolchain::CARGO_DENY)?;
    for manifest in ["Cargo.toml", "python/Cargo.toml"] {
        command::run(
            Command::new(&program)
                .args(["--manifest-path", manifest, "--config"])
                .arg(workspace.root.join("deny.toml"))
                .arg("check")
                // Advisories come from a git host that a build machine may be unable to reach; see deny.toml.
                .args(["bans", "licenses", "sources"])
                .current_dir(&workspace.root)
                .env("PATH", workspace.path_with_tools()?),
        )?;
    }
    Ok(())
}

fn ruff(workspace: &Workspace, fix: bool) -> Result<()> {
    let files: Vec<PathBuf> = files_below(&workspace.root, "py")?;
    if files.is_empty() {
        return Ok(());
    }
    let interpreter = interpreter::any().context("found no CPython to run ruff with")?;
    let python = Environment {
        folder: workspace.target.join("lint-venv"),
        interpreter: &interpreter,
        requirements: &[],
        packages: &[format!("ruff=={}", workspace.pins.ruff)],
        inputs: 0,
    }
    .ensure(&Pip::ensure(workspace)?)?;
    let ruff = |arguments: &[&str]| {
        command::run(
            Command::new(&python)
                .args(["-m", "ruff"])
                .args(arguments)
                .arg("--no-cache")
                .args(&files)
                .current_dir(&workspace.root),
        )
    };
    if fix {
        ruff(&["format", "--quiet"])?;
        return ruff(&["check", "--quiet", "--fix"]);
    }
    ruff(&["format", "--check", "--quiet"])?;
    ruff(&["check", "--quiet"])
}

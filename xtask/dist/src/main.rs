//! Makes a release: a static binary with its pages and completions, an image, a deb, an rpm, wheels, bills of
//! materials and checksums. The same tree makes the same bytes, wherever it lies.
//!
//! In: the tree. Out: files in `target/packages`. It must not know how the agent works.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool: stdout carries results, stderr what it is doing"
)]

mod archive;
mod binary;
mod check;
mod folders;
mod image;
mod materials;
mod packages;
mod pages;
mod release;
mod reproducible;
mod sums;
mod tools;
mod wheels;

use std::{fs, process::ExitCode};

use anyhow::{Context as _, Result};
use clap::{Parser as _, ValueEnum};
use xtask::{command::say, workspace::Workspace};

use self::{folders::Folders, release::Release, tools::Tools};

/// Make a release: static binary, image, deb, rpm, wheels
///
/// Leaves it in target/packages, with checksums. The same tree makes the same bytes. The agent is optimised as a whole,
/// which takes minutes. Installs missing tools under the target folder, and as root on Debian also musl-tools.
#[derive(clap::Parser)]
#[command(name = "cargo xtask dist", bin_name = "cargo xtask dist")]
struct Arguments {
    /// Check the result, too: two builds in two folders are the same, sizes are within their limits, the packages
    /// install, upgrade and uninstall in clean roots, and the agent from them and every wheel record a span. Needs root
    #[arg(long)]
    check: bool,
    /// Only these parts (all, if not given)
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
}

/// A part that can be made alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The agent: binary, image, deb and rpm
    Agent,
    /// The Python package: wheels and source
    Wheels,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    xtask::finish(run(&arguments))
}

fn run(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::locate()?;
    let parts = if arguments.only.is_empty() {
        Part::value_variants()
    } else {
        &arguments.only
    };
    let release = Release::of(&workspace)?;
    let tools = Tools::ensure(&workspace, parts)?;
    let folders = Folders::new(&workspace, "build");
    make(&workspace, &tools, &release, &folders, parts)?;
    let out = workspace.target.join("packages");
    folders::replace(&folders.out, &out)?;
    if arguments.check {
        check::run(&workspace, &tools, &release, &folders, parts)?;
    }
    for line in fs::read_to_string(out.join(sums::FILE))?.lines() {
        println!("{line}");
    }
    say(&format!("everything is in {}", out.display()));
    Ok(())
}

/// Makes the parts in separate folders, from a copy of the tree.
fn make(
    workspace: &Workspace,
    tools: &Tools,
    release: &Release,
    folders: &Folders,
    parts: &[Part],
) -> Result<()> {
    folders.prepare(&workspace.root)?;
    if parts.contains(&Part::Agent) {
        make_agent(workspace, tools, release, folders).context("the agent")?;
    }
    if parts.contains(&Part::Wheels) {
        wheels::make(tools, release, folders).context("the wheels")?;
    }
    sums::write(&folders.out)
}

fn make_agent(
    workspace: &Workspace,
    tools: &Tools,
    release: &Release,
    folders: &Folders,
) -> Result<()> {
    let binary = binary::build(workspace, tools, release, folders)?;
    let generated = folders.source.join(packages::GENERATED);
    packages::lay_out(&generated, &binary, release)?;
    packages::tarball(&generated, release, folders)?;
    image::write(&binary, release, folders)?;
    packages::deb(tools, release, folders, packages::REVISION, &folders.out)?;
    packages::rpm(tools, release, folders, packages::REVISION, &folders.out)?;
    materials::write(tools, release, folders, "profiler", "spanprof")
}

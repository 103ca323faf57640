//! Every test of the workspace, in one run with one closing line.

mod again;
mod compiled;
mod end_to_end;
mod logfire;
mod prepare;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};
use rustix::fs::Mode;

use self::{compiled::Compiled, prepare::Pythons};
use crate::command::{self, say};
use crate::progress::Progress;
use crate::pythons;
use crate::summary::{self, Summary};
use crate::workspace::Workspace;

/// Run the tests: Rust, the Python package, and end to end on the real kernel
///
/// Installs what is missing first. The end-to-end tests need root (sudo is asked). Without --all they run
/// on the newest CPython of 3.10 to 3.13 that this machine has, and the stacks and spans on one CPython of
/// each version from 3.8 to 3.15, of this machine or of Debian: about 6 minutes. Outside CI, a missing
/// interpreter is skipped and counted; with CI=true it is a failure. If a few of all tests fail, they run
/// again, alone; one that then passes is listed as unsteady.
#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// Every test on every CPython, every build and release: about 10 minutes
    #[arg(long)]
    all: bool,
    /// Leave out the end-to-end tests, which need root
    #[arg(long)]
    unprivileged: bool,
    /// Show the output of passing tests too: some print measurements
    #[arg(long)]
    show_output: bool,
    /// Only tests whose name contains one of these
    filters: Vec<String>,
}

impl Arguments {
    /// As `--all`.
    pub(crate) fn everything() -> Self {
        Self {
            all: true,
            ..Self::default()
        }
    }

    /// The arguments that a Rust test program understands.
    fn of_libtest(&self) -> Vec<&str> {
        let show = self.show_output.then_some("--show-output");
        let filters = self.filters.iter().map(String::as_str);
        show.into_iter().chain(filters).collect()
    }

    /// Runs a Rust test program with arguments for libtest; and once more, alone, the few tests that failed in it,
    /// unless the user has selected some.
    fn run(
        &self,
        own: &[&str],
        mut program: impl FnMut(&[&str]) -> Result<Command>,
    ) -> Result<Summary> {
        let arguments = [own, &self.of_libtest()].concat();
        let total = summary::run(&mut program(&arguments)?)?;
        if !self.filters.is_empty() {
            return Ok(total);
        }
        again::again(total, |arguments| summary::run(&mut program(arguments)?))
    }
}

/// The exit code of pytest if it has selected no test.
const PYTEST_SELECTED_NONE: i32 = 5;

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    // Tests read the prepared files as other users, so the caller's umask must not apply.
    rustix::process::umask(Mode::from_bits_truncate(0o022));
    let workspace = Workspace::locate()?;
    let end_to_end = !arguments.unprivileged;
    let mut progress = Progress::new(if end_to_end { 7 } else { 4 });
    let mut total = Summary::default();

    progress.part("compiling the agent and the tests: some two minutes at first");
    let compiled = Compiled::build(&workspace, end_to_end)?;
    // Unit tests compile with it; without it they say that they skip that.
    if arguments.all
        && end_to_end
        && let Err(error) = pythons::ensure_musl_compiler()
    {
        say(&format!("{error:#}"));
    }
    progress.part("tests of the Rust crates");
    for test in &compiled.units {
        total += test.run(arguments)?;
    }

    progress.part("preparing interpreters with the Python package");
    let pythons = Pythons::prepare(&workspace, arguments.all, &mut total)?;
    progress.part("tests of the Python package");
    for (version, python) in &pythons.environments {
        total += python_package(&workspace, version, python, &arguments.filters)?;
    }

    if end_to_end {
        progress.part(
            "preparing what the end-to-end tests need: Debian's interpreters, if some are missing",
        );
        let more = pythons.prepare_more(&workspace, arguments.all, &mut total)?;
        end_to_end::run(
            &workspace,
            arguments,
            &compiled,
            &pythons,
            &more,
            &mut progress,
            &mut total,
        )?;
    } else {
        say("skipped: end-to-end tests (--unprivileged)");
        total.skipped += 1;
    }
    say(&format!("done in {}", progress.so_far()));
    println!("{total}");
    if total.failed > 0 || !total.unsteady.is_empty() {
        for line in &total.failures {
            println!("{line}");
        }
        for name in &total.unsteady {
            say(&format!("UNSTEADY: {name} failed, and then passed alone"));
        }
        println!("{total}");
    }
    if total.failed > 0 {
        bail!("tests failed");
    }
    if total.passed == 0 && !arguments.filters.is_empty() {
        bail!("no test has such a name; some tests run only with --all");
    }
    Ok(())
}

/// The package's own tests on one interpreter.
fn python_package(
    workspace: &Workspace,
    version: &str,
    python: &PathBuf,
    filters: &[String],
) -> Result<Summary> {
    say(&format!("the Python package on CPython {version}"));
    let mut command = Command::new(python);
    command
        .args([
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "--color=no",
            "tests",
        ])
        // A second -q would silence the closing line, if the project's settings have one already.
        .args(["-o", "addopts="])
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("LC_ALL", "C.UTF-8")
        .current_dir(workspace.python_package());
    if !filters.is_empty() {
        command.arg("-k").arg(filters.join(" or "));
    }
    // A filter may match only tests of other suites.
    let nothing_ran = (!filters.is_empty()).then_some(PYTEST_SELECTED_NONE);
    summary::run_selected(&mut command, nothing_ran)
}

/// Counts something that cannot run here: as one skip, or in CI, where everything must run, as one failure.
fn lacking(reason: &str) -> Summary {
    let mut summary = Summary::default();
    if command::is_ci() {
        say(&format!("FAILED, as this is CI: {reason}"));
        summary.failed = 1;
    } else {
        say(&format!("skipped: {reason}"));
        summary.skipped = 1;
    }
    summary
}

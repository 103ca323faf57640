//! Every test of the workspace, in one run with one closing line.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::{self, say};
use crate::interpreter;
use crate::python::{self, Environment};
use crate::summary::{self, Summary};
use crate::workspace::Workspace;
use crate::{build, pythons as matrix_of_pythons, toolchain};

/// Releases of OpenTelemetry whose spans must be read, beside the one of `tests/requirements.txt`.
const RELEASES: [&str; 4] = ["1.20.0", "1.25.0", "1.30.0", "1.38.0"];

/// Run all tests: Rust, the Python package, and end to end on the real kernel.
///
/// Installs what is missing first. The end-to-end tests need root (sudo is asked) and CPython
/// 3.10 to 3.13; other kinds are fetched (cargo xtask pythons). Outside CI, what is lacking is skipped and
/// counted, with CI=true it fails.
#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    /// Leave out the end-to-end tests, which need root
    #[arg(long)]
    unprivileged: bool,
    /// Show what passing tests print too: some measure
    #[arg(long)]
    show_output: bool,
    /// Only tests whose name contains one of these
    filters: Vec<String>,
}

impl Arguments {
    /// What a Rust test program understands of them.
    fn of_libtest(&self) -> impl Iterator<Item = &str> {
        let show = self.show_output.then_some("--show-output");
        show.into_iter()
            .chain(self.filters.iter().map(String::as_str))
    }
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::locate()?;
    toolchain::ensure_build(&workspace)?;
    let mut total = rust_tests(&workspace, arguments)?;
    let pythons = prepare_pythons(&workspace, &mut total)?;
    total += python_tests(&workspace, &pythons, &arguments.filters)?;
    if arguments.unprivileged {
        say("skipped: end-to-end tests (--unprivileged)");
        total.skipped += 1;
    } else {
        total += end_to_end_tests(&workspace, &pythons, arguments)?;
    }
    println!("{total}");
    if total.failed > 0 {
        bail!("tests failed");
    }
    Ok(())
}

fn rust_tests(workspace: &Workspace, arguments: &Arguments) -> Result<Summary> {
    say("tests of the Rust crates");
    let mut command = workspace.cargo()?;
    command
        .args(["test", "--no-fail-fast", "--"])
        .args(arguments.of_libtest());
    summary::run(&mut command)
}

/// A virtual environment for each interpreter found; those missing are skipped, or fail in CI.
fn prepare_pythons(
    workspace: &Workspace,
    total: &mut Summary,
) -> Result<BTreeMap<&'static str, PathBuf>> {
    let interpreters = interpreter::find();
    for version in interpreter::VERSIONS {
        if !interpreters.contains_key(version) {
            *total += lacking(&format!(
                "CPython {version} was not found; install it (pyenv install {version}, or the \
                 distribution's python{version}) or name it in {}",
                interpreter::VARIABLE
            ));
        }
    }
    let mut packages = Vec::new();
    let mut inputs = 0;
    if let Some(newest) = interpreters.values().next_back()
        && workspace.has_python_package()
    {
        let (wheel, sources) = python::ensure_wheel(workspace, newest)?;
        packages.push(wheel.display().to_string());
        inputs = sources;
    }
    let requirements = [workspace.root.join("tests/requirements.txt")];
    let mut pythons = BTreeMap::new();
    for (version, interpreter) in &interpreters {
        let environment = Environment {
            folder: workspace.target.join("pythons").join(version),
            interpreter,
            requirements: &requirements,
            packages: &packages,
            inputs,
        };
        let python = environment
            .ensure()
            .with_context(|| format!("failed to prepare CPython {version} for the tests"))?;
        pythons.insert(*version, python);
    }
    Ok(pythons)
}

/// The package's own tests, on every interpreter.
fn python_tests(
    workspace: &Workspace,
    pythons: &BTreeMap<&'static str, PathBuf>,
    filters: &[String],
) -> Result<Summary> {
    let mut total = Summary::default();
    if !workspace.python_package().join("tests").is_dir() {
        return Ok(lacking("this tree has no tests of the Python package"));
    }
    for (version, python) in pythons {
        say(&format!("tests of the Python package on CPython {version}"));
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
            // A second -q, if the project asks for one already, would silence the closing line.
            .args(["-o", "addopts="])
            .current_dir(workspace.python_package());
        if !filters.is_empty() {
            command.arg("-k").arg(filters.join(" or "));
        }
        total += count_pytest(&mut command, !filters.is_empty())?;
    }
    Ok(total)
}

/// Pytest ends with a failure when a filter matches no test of this suite: that is none here.
fn count_pytest(command: &mut Command, filtered: bool) -> Result<Summary> {
    let summary = summary::run(command)?;
    let nothing_ran = summary.passed == 0 && summary.skipped == 0 && summary.failed == 1;
    if filtered && nothing_ran && collects_nothing(command) {
        return Ok(Summary::default());
    }
    Ok(summary)
}

/// Does pytest say by its exit status 5 that no test was selected?
fn collects_nothing(command: &mut Command) -> bool {
    command
        .arg("--collect-only")
        .stdout(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.code() == Some(5))
}

fn end_to_end_tests(
    workspace: &Workspace,
    pythons: &BTreeMap<&'static str, PathBuf>,
    arguments: &Arguments,
) -> Result<Summary> {
    if pythons.is_empty() {
        return Ok(lacking("end-to-end tests: no interpreter to run them on"));
    }
    if !command::is_root() && !can_become_root() {
        return Ok(lacking(
            "end-to-end tests: they load BPF programs and need root; run as root, or let sudo work",
        ));
    }
    let agent = build::agent(workspace)?;
    let programs = build_end_to_end(workspace)?;
    let interpreters = pythons
        .iter()
        .map(|(version, python)| format!("{version}={}", python.display()))
        .collect::<Vec<_>>()
        .join(":");
    let peers = prepare_peers(workspace, pythons)?;
    let releases = prepare_releases(workspace, pythons)?;
    let mut total = prepare_containers();
    let cells = matrix_of_pythons::ensure(workspace)?;
    let matrix = matrix_of_pythons::write_matrix(workspace, &cells)?;
    for program in programs {
        let path = workspace.path_with_tools()?;
        let manifest = workspace.root.join("tests");
        let environment: [(&str, &OsStr); 7] = [
            ("SPANPROF_BIN", agent.as_os_str()),
            ("SPANPROF_RELEASES", OsStr::new(&releases)),
            ("SPANPROF_MATRIX", matrix.as_os_str()),
            ("SPANPROF_VENVS", OsStr::new(&interpreters)),
            ("SPANPROF_PEERS", peers.as_os_str()),
            ("CARGO_MANIFEST_DIR", manifest.as_os_str()),
            ("PATH", &path),
        ];
        let mut command = command::privileged(&program, &environment, "the end-to-end tests")?;
        // One at a time: each of them takes all CPUs, and they measure what the kernel sampled.
        command
            .args(["--test-threads", "1"])
            .args(arguments.of_libtest())
            .current_dir(&manifest);
        say(&format!("end-to-end tests: {}", program.display()));
        total += summary::run(&mut command)?;
    }
    Ok(total)
}

/// The folder of a virtual environment with programs of others that read or write what we do.
fn prepare_peers(
    workspace: &Workspace,
    pythons: &BTreeMap<&'static str, PathBuf>,
) -> Result<PathBuf> {
    let interpreter = pythons.values().next_back().context("no interpreter")?;
    let environment = Environment {
        folder: workspace.target.join("pythons/peers"),
        interpreter,
        requirements: &[workspace.root.join("tests/requirements-peers.txt")],
        packages: &[],
        inputs: 0,
    };
    environment
        .ensure()
        .context("failed to install what the tests compare with")?;
    Ok(environment.folder)
}

/// What runs containers, installed where that is possible.
fn prepare_containers() -> Summary {
    if command::find_on_path("runc").is_some() {
        return Summary::default();
    }
    match python::apt_install("runc", "there is no runc to run containers with") {
        Ok(()) => Summary::default(),
        Err(error) => lacking(&error.to_string()),
    }
}

/// Virtual environments with earlier releases of OpenTelemetry alone, on the oldest interpreter: the
/// newest release is in those of the other tests.
fn prepare_releases(
    workspace: &Workspace,
    pythons: &BTreeMap<&'static str, PathBuf>,
) -> Result<String> {
    let interpreter = pythons.values().next().context("no interpreter")?;
    let mut releases = Vec::new();
    for release in RELEASES {
        let environment = Environment {
            folder: workspace
                .target
                .join(format!("pythons/opentelemetry-{release}")),
            interpreter,
            requirements: &[],
            packages: &[format!("opentelemetry-sdk=={release}")],
            inputs: 0,
        };
        let python = environment
            .ensure()
            .with_context(|| format!("failed to install OpenTelemetry {release}"))?;
        releases.push(format!("{release}={}", python.display()));
    }
    Ok(releases.join(":"))
}

/// Builds the test programs as the user and returns them, so that no build runs as root and leaves
/// files that the user cannot overwrite.
fn build_end_to_end(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let messages = command::output(workspace.cargo()?.args([
        "test",
        "--package",
        "tests",
        "--no-run",
        "--message-format",
        "json-render-diagnostics",
    ]))?;
    Ok(messages.lines().filter_map(test_program).collect())
}

/// The test program that a line of cargo's messages announces, if it does.
fn test_program(message: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    let is_test = message.get("profile")?.get("test")?.as_bool()?;
    let program = message.get("executable")?.as_str()?;
    is_test.then(|| Path::new(program).to_path_buf())
}

/// Can sudo be asked: is there one, and a terminal or a standing permission?
fn can_become_root() -> bool {
    use std::io::IsTerminal as _;
    let Some(sudo) = command::find_on_path("sudo") else {
        return false;
    };
    std::io::stdin().is_terminal()
        || command::probe(Command::new(sudo).args(["--non-interactive", "true"])).is_some()
}

/// Something cannot be run here: one skip, but one failure in CI, where all must be run.
fn lacking(reason: &str) -> Summary {
    if command::is_ci() {
        say(&format!(
            "FAILED (CI={}): {reason}",
            env::var("CI").unwrap_or_default()
        ));
        return Summary {
            failed: 1,
            ..Summary::default()
        };
    }
    say(&format!("skipped: {reason}"));
    Summary {
        skipped: 1,
        ..Summary::default()
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::test_program;

    /// Of cargo's messages, test programs are taken and other artefacts left.
    #[test]
    fn test_programs_are_found() {
        let message =
            r#"{"reason":"compiler-artifact","profile":{"test":true},"executable":"/t/x-1"}"#;
        assert_eq!(test_program(message), Some(PathBuf::from("/t/x-1")));
        let message =
            r#"{"reason":"compiler-artifact","profile":{"test":false},"executable":"/t/x"}"#;
        assert_eq!(test_program(message), None);
        assert_eq!(test_program("   Compiling tests"), None);
    }
}

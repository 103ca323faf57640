//! The test programs and the agent they test, all made by one build.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::Arguments;
use crate::build::{self, QUICK};
use crate::command::say;
use crate::summary::Summary;
use crate::workspace::Workspace;

/// The crates with tests that need neither root nor interpreters.
const CRATES: [&str; 6] = [
    "profiler-common",
    "profiler",
    "launcher",
    "xtask",
    "bench",
    "dist",
];
/// The crate of the end-to-end tests.
pub(super) const END_TO_END: &str = "tests";

/// What was compiled.
pub(super) struct Compiled {
    /// The agent.
    pub(super) agent: PathBuf,
    /// Programs of the crates' own tests.
    pub(super) units: Vec<TestProgram>,
    /// Programs of the end-to-end tests.
    pub(super) end_to_end: Vec<TestProgram>,
}

/// A program of tests.
pub(super) struct TestProgram {
    /// The crate and the target in it.
    pub(super) name: String,
    pub(super) program: PathBuf,
    /// The folder of the crate.
    pub(super) folder: PathBuf,
}

impl Compiled {
    /// Builds as the user, so that no build runs as root and leaves files that the user cannot overwrite.
    pub(super) fn build(workspace: &Workspace, end_to_end: bool) -> Result<Self> {
        let mut cargo = workspace.cargo_with_programs()?;
        cargo.args(["test", "--no-run", "--profile", QUICK, "--locked"]);
        let crates = CRATES.iter().chain(end_to_end.then_some(&END_TO_END));
        for name in crates {
            cargo.args(["--package", name]);
        }
        let mut agent = None;
        let (mut units, mut of_end_to_end) = (Vec::new(), Vec::new());
        for (artifact, program) in build::artifacts(&mut cargo)? {
            let target = artifact.target.name;
            let folder = artifact.manifest_path.parent();
            let folder = folder.context("an artifact of no crate")?.as_std_path();
            if !artifact.profile.test {
                agent = agent.or_else(|| (target == "spanprof").then_some(program));
                continue;
            }
            let of = folder.file_name().unwrap_or_default().to_string_lossy();
            // The harness's own tests need neither root nor interpreters.
            let list = if of == END_TO_END && target != END_TO_END {
                &mut of_end_to_end
            } else {
                &mut units
            };
            list.push(TestProgram {
                name: format!("{of}/{target}"),
                folder: folder.to_path_buf(),
                program,
            });
        }
        Ok(Self {
            agent: agent.context("cargo built no spanprof")?,
            units,
            end_to_end: of_end_to_end,
        })
    }
}

impl TestProgram {
    /// Runs its tests as cargo does: in the folder of the crate.
    pub(super) fn run(&self, arguments: &Arguments) -> Result<Summary> {
        say(&format!("tests of {}", self.name));
        arguments.run(&[], |arguments| {
            let mut command = Command::new(&self.program);
            command
                .args(arguments)
                .current_dir(&self.folder)
                .env("CARGO_MANIFEST_DIR", &self.folder);
            Ok(command)
        })
    }
}

//! The tools for making a release, and their paths.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use launcher::interpreter;
use xtask::{
    python::{Environment, Pip},
    pythons,
    toolchain::{self, CARGO_AUDITABLE, CARGO_CYCLONEDX, CARGO_DEB, CARGO_GENERATE_RPM},
    workspace::Workspace,
};

use crate::{Part, binary, wheels};

/// The tools of a run.
#[derive(Debug)]
pub(crate) struct Tools {
    /// Its environment also has maturin.
    pub(crate) pip: Pip,
    /// Writes bills of materials.
    pub(crate) cyclonedx: PathBuf,
    of_agent: Option<OfAgent>,
    zig: Option<PathBuf>,
}

/// Cargo's commands that make the agent and its packages.
#[derive(Debug)]
pub(crate) struct OfAgent {
    pub(crate) auditable: PathBuf,
    pub(crate) deb: PathBuf,
    pub(crate) generate_rpm: PathBuf,
}

impl Tools {
    /// Installs what is missing for these parts.
    ///
    /// # Errors
    /// Something cannot be installed.
    pub(crate) fn ensure(workspace: &Workspace, parts: &[Part]) -> Result<Self> {
        let pip = Pip::ensure(workspace)?;
        toolchain::ensure_target(workspace, binary::TARGET)?;
        let has = |part| parts.contains(&part).then_some(());
        let of_agent = has(Part::Agent)
            .map(|()| OfAgent::ensure(workspace))
            .transpose()?;
        let zig = has(Part::Wheels)
            .map(|()| zig(workspace, &pip))
            .transpose()?;
        Ok(Self {
            pip,
            cyclonedx: toolchain::ensure_tool(workspace, &CARGO_CYCLONEDX)?,
            of_agent,
            zig,
        })
    }

    /// The tools for the agent.
    ///
    /// # Errors
    /// The run is not for the agent.
    pub(crate) fn of_agent(&self) -> Result<&OfAgent> {
        self.of_agent.as_ref().context("no agent is made")
    }

    /// Zig's program.
    ///
    /// # Errors
    /// The run is not for wheels.
    pub(crate) fn zig(&self) -> Result<&PathBuf> {
        self.zig.as_ref().context("no wheels are made")
    }
}

impl OfAgent {
    fn ensure(workspace: &Workspace) -> Result<Self> {
        pythons::ensure_musl_compiler()?;
        let tool = |tool| toolchain::ensure_tool(workspace, tool);
        Ok(Self {
            auditable: tool(&CARGO_AUDITABLE)?,
            deb: tool(&CARGO_DEB)?,
            generate_rpm: tool(&CARGO_GENERATE_RPM)?,
        })
    }
}

/// Zig comes as a Python package, in a separate environment.
fn zig(workspace: &Workspace, pip: &Pip) -> Result<PathBuf> {
    let interpreter = interpreter::any().with_context(interpreter::none_found)?;
    let package = [format!("ziglang=={}", workspace.pins.ziglang)];
    let python = Environment {
        folder: workspace.target.join("zig"),
        interpreter: &interpreter,
        requirements: &[],
        packages: &package,
        inputs: 0,
    }
    .ensure(pip)?;
    wheels::zig_of(&python)
}

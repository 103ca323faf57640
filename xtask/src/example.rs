//! The programs and environments that the complete example needs.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use launcher::interpreter;

use crate::build;
use crate::golang;
use crate::progress::Progress;
use crate::python::{Environment, Pip};
use crate::workspace::Workspace;

/// All that the example needs.
#[derive(Debug)]
pub struct Prepared {
    /// The agent.
    pub agent: PathBuf,
    /// The interpreter of the services.
    pub python: PathBuf,
    /// The Collector.
    pub collector: PathBuf,
    /// The folder of the example.
    pub folder: PathBuf,
}

/// Installs and builds what is missing.
///
/// # Errors
/// Something can neither be found nor installed.
pub fn prepare() -> Result<Prepared> {
    let workspace = Workspace::locate()?;
    let mut progress = Progress::new(4);
    progress.part("the services: a virtual environment with FastAPI and OpenTelemetry");
    let pip = Pip::ensure(&workspace)?;
    let python = services(&workspace, &pip)?;
    progress.part("the Collector: two minutes at first");
    let collector = golang::program(&workspace, &pip, "collector")?;
    progress.part("compiling the agent: about a minute at first");
    let agent = build::agent(&workspace, build::QUICK)?;
    progress.part("running the example");
    Ok(Prepared {
        agent,
        python,
        collector,
        folder: workspace.root.join("examples/grafana"),
    })
}

/// The interpreter of the services, with the packages they use.
pub(crate) fn services(workspace: &Workspace, pip: &Pip) -> Result<PathBuf> {
    let interpreter = interpreter::any().with_context(interpreter::none_found)?;
    Environment {
        folder: workspace.target.join("example"),
        interpreter: &interpreter,
        requirements: &[workspace
            .root
            .join("examples/grafana/shop/requirements.txt")],
        packages: &[],
        inputs: 0,
    }
    .ensure(pip)
}

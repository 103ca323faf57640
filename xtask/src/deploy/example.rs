//! Checks the complete example: its manifests for every version of Kubernetes, its compose file with Docker's own
//! library.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result};

use super::{chart, tools::Tools};
use crate::command;
use crate::golang;
use crate::python::Pip;
use crate::workspace::Workspace;

/// The output of kustomize for the example is valid in every version of Kubernetes.
pub(super) fn manifests(workspace: &Workspace, tools: &Tools) -> Result<()> {
    let example = workspace.root.join("examples/grafana");
    let made = command::output(tools.kubectl().arg("kustomize").arg(example))?;
    let rendered = workspace.target.join("deploy/example");
    for minor in chart::MINORS {
        let folder = rendered.join(format!("1.{minor}"));
        fs::create_dir_all(&folder)
            .with_context(|| format!("failed to create {}", folder.display()))?;
        let path = folder.join("example.yaml");
        fs::write(&path, &made).with_context(|| format!("failed to write {}", path.display()))?;
    }
    command::run(tools.manifests("validate").arg(&rendered))
}

/// `docker compose` would accept the file.
pub(super) fn compose(workspace: &Workspace) -> Result<()> {
    let pip = Pip::ensure(workspace)?;
    let program = golang::program(workspace, &pip, "compose")?;
    command::run(Command::new(program).arg(workspace.root.join("examples/grafana/compose.yaml")))
}

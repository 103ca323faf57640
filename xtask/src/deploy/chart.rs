//! The Helm chart.

use std::collections::BTreeMap;
use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::{generated::Generated, tools::Tools};
use crate::command;
use crate::python::several;
use crate::workspace::{Workspace, files_below};

/// The release's name when rendering: as it equals the chart's name, all objects get this name.
const RELEASE: &str = "spanprof";
/// Minor versions of Kubernetes that the chart is for: those with published schemas.
pub(super) const MINORS: RangeInclusive<u8> = 25..=37;
/// The one for which the examples are rendered.
const EXAMPLE: &str = "1.35";

/// Values that must be refused, and a part of the message.
const REFUSED: [(&[&str], &str); 15] = [
    (&["listen.address=127.0.0.1"], "of the pod alone"),
    (&["imagee.tag=1"], "imagee"),
    (&["image.tagg=1"], "tagg"),
    (&["config.frequencyy=49"], "frequencyy"),
    (&["config.frequency=0"], "frequency"),
    (&["config.tags.region=1"], "region"),
    (&["config.push_queue=much"], "push_queue"),
    (&["pyroscope.url=pyroscope:4040"], "url"),
    (&["rights.seccompProfile=Localhost"], "seccompProfile"),
    (&["maxUnavailable=0"], "maxUnavailable"),
    (&["secret.caKey=ca.crt"], "secret.name is missing"),
    (&["secret.name=a"], "none of its keys"),
    (&["pyroscope.basicAuthUser=a"], "go together"),
    (
        &["secret.name=a", "secret.clientKeyKey=tls.key"],
        "go together",
    ),
    (
        &[
            "secret.name=a",
            "secret.passwordKey=p",
            "pyroscope.basicAuthUser=u",
            "secret.bearerTokenKey=t",
        ],
        "exclude each other",
    ),
];

/// The chart's folder.
pub(super) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.root.join("deploy/helm/spanprof")
}

/// Files of values, by the names of their examples.
fn values(workspace: &Workspace) -> Result<BTreeMap<String, PathBuf>> {
    let files = files_below(&folder(workspace).join("ci"), "yaml")?;
    let named = files.into_iter().map(|path| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name = stem
            .strip_suffix("-values")
            .with_context(|| format!("{} does not end in -values.yaml", path.display()))?;
        Ok((name.to_owned(), path.clone()))
    });
    named.collect()
}

/// `helm template` for a version of Kubernetes.
pub(super) fn template(workspace: &Workspace, tools: &Tools, version: &str) -> Command {
    let mut helm = tools.helm();
    helm.args(["template", RELEASE])
        .arg(folder(workspace))
        .args(["--namespace", RELEASE, "--kube-version", version]);
    helm
}

/// These templates of the chart, rendered with default values for the version of the examples.
pub(super) fn default(workspace: &Workspace, tools: &Tools, only: &[&str]) -> Result<String> {
    let mut helm = template(workspace, tools, EXAMPLE);
    for name in only {
        helm.args(["--show-only", &format!("templates/{name}")]);
    }
    command::output(&mut helm)
}

/// Values and schema have the same keys, and the chart has the agent's version.
pub(super) fn documented(workspace: &Workspace, tools: &Tools) -> Result<()> {
    let folder = folder(workspace);
    command::run(
        tools
            .manifests("documented")
            .arg(folder.join("values.yaml"))
            .arg(folder.join("values.schema.json")),
    )?;
    let ours = env!("CARGO_PKG_VERSION");
    let chart = fs::read_to_string(folder.join("Chart.yaml"))?;
    for key in ["version", "appVersion"] {
        if !chart.lines().any(|line| line == format!("{key}: {ours}")) {
            bail!("Chart.yaml has another {key} than {ours}, the agent's");
        }
    }
    Ok(())
}

/// `helm lint` passes, and the chart's schema and checks refuse what they must.
pub(super) fn lint(workspace: &Workspace, tools: &Tools) -> Result<()> {
    for path in values(workspace)?.values() {
        let mut helm = tools.helm();
        helm.args(["lint", "--strict", "--quiet", "--values"])
            .arg(path)
            .arg(folder(workspace));
        command::run(&mut helm)?;
    }
    several(&REFUSED, |(settings, expected)| {
        let mut helm = template(workspace, tools, EXAMPLE);
        for setting in *settings {
            helm.args(["--set", setting]);
        }
        let output = helm.output().context("failed to start helm")?;
        let said = String::from_utf8_lossy(&output.stderr);
        if output.status.success() || !said.contains(expected) {
            bail!("helm does not refuse {settings:?} because of {expected:?}: {said}");
        }
        Ok(())
    })
}

/// Every file of values for every version of Kubernetes, against the schemas of that version.
pub(super) fn validate(workspace: &Workspace, tools: &Tools) -> Result<()> {
    let rendered = workspace.target.join("deploy/rendered");
    if rendered.exists() {
        fs::remove_dir_all(&rendered)
            .with_context(|| format!("failed to remove {}", rendered.display()))?;
    }
    let mut wanted = Vec::new();
    for minor in MINORS {
        let version = format!("1.{minor}");
        fs::create_dir_all(rendered.join(&version))?;
        for (name, values) in values(workspace)? {
            wanted.push((version.clone(), name, values));
        }
    }
    several(&wanted, |(version, name, values)| {
        let text = render(workspace, tools, version, values)?;
        let path = rendered.join(version).join(format!("{name}.yaml"));
        fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
    })?;
    command::run(tools.manifests("validate").arg(&rendered))
}

/// The rendered output for every file of values.
pub(super) fn examples(workspace: &Workspace, tools: &Tools) -> Result<Generated> {
    let mut files = BTreeMap::new();
    for (name, values) in values(workspace)? {
        let text = render(workspace, tools, EXAMPLE, &values)?;
        files.insert(format!("{name}.yaml"), text);
    }
    Ok(Generated {
        folder: workspace.root.join("deploy/helm/examples"),
        files,
        owns: Some("yaml"),
    })
}

fn render(workspace: &Workspace, tools: &Tools, version: &str, values: &Path) -> Result<String> {
    command::output(
        template(workspace, tools, version)
            .arg("--values")
            .arg(values),
    )
}

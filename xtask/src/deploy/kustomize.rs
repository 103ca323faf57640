//! The kustomize base: the chart with default values, with its settings in a separate file.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context as _, Result};

use super::{chart, generated::Generated, tools::Tools};
use crate::command;
use crate::workspace::Workspace;

/// Lines that only Helm needs: kustomize restarts pods because the settings' name has a hash.
const OF_HELM: [&str; 5] = [
    "# Source:",
    "helm.sh/chart:",
    "app.kubernetes.io/managed-by:",
    "annotations:",
    "checksum/config:",
];
/// The line before the settings in the rendered object, and their indentation.
const SETTINGS: &str = "  spanprof.toml: |\n";
const INDENT: &str = "    ";

/// The files of the base that are made from the chart.
pub(super) fn base(workspace: &Workspace, tools: &Tools) -> Result<Generated> {
    let mut files = BTreeMap::new();
    for name in ["daemonset.yaml", "serviceaccount.yaml"] {
        let text = chart::default(workspace, tools, &[name])?;
        files.insert(name.to_owned(), without_helm(&text));
    }
    let object = chart::default(workspace, tools, &["configmap.yaml"])?;
    files.insert("spanprof.toml".to_owned(), settings(&object)?);
    Ok(Generated {
        folder: workspace.root.join("deploy/kustomize/base"),
        files,
        owns: None,
    })
}

fn without_helm(text: &str) -> String {
    let lines = text.lines().filter(|line| {
        let line = line.trim_start();
        line != "---" && !OF_HELM.iter().any(|start| line.starts_with(start))
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// The file of settings, taken out of the object that contains it.
fn settings(object: &str) -> Result<String> {
    let (_, block) = object
        .split_once(SETTINGS)
        .context("the object has no spanprof.toml")?;
    let lines = block
        .lines()
        .map(|line| line.strip_prefix(INDENT).unwrap_or(line));
    Ok(lines.flat_map(|line| [line, "\n"]).collect())
}

/// kustomize renders the base to the same objects as Helm renders the chart.
pub(super) fn check(workspace: &Workspace, tools: &Tools) -> Result<()> {
    let base = workspace.root.join("deploy/kustomize/base");
    let folder = workspace.target.join("deploy");
    let made = command::output(tools.kubectl().arg("kustomize").arg(&base))?;
    let (kustomized, rendered) = (folder.join("kustomized.yaml"), folder.join("default.yaml"));
    fs::write(&kustomized, made).context("failed to write what kustomize made")?;
    fs::write(&rendered, chart::default(workspace, tools, &[])?)
        .context("failed to write what Helm made")?;
    command::run(tools.manifests("same").arg(&rendered).arg(&kustomized))
}

#[cfg(test)]
mod tests {
    use super::{settings, without_helm};

    /// The block that is taken out equals the one that was put in.
    #[test]
    fn settings_of_an_object() {
        let object = "data:\n  spanprof.toml: |\n    a = 1\n\n    [tags]\n    b = \"c\"\n";
        assert_eq!(settings(object).unwrap(), "a = 1\n\n[tags]\nb = \"c\"\n");
        assert!(settings("data: {}\n").is_err());
    }

    /// Only whole lines that Helm needs are left out.
    #[test]
    fn lines_of_helm() {
        let text = "---\n# Source: a\nkind: B\n    helm.sh/chart: c-1\n    name: d\n";
        assert_eq!(without_helm(text), "kind: B\n    name: d\n");
    }
}

//! Checks `deploy/` without a cluster and without a running systemd.

mod chart;
mod example;
mod generated;
mod kustomize;
mod readme;
mod tools;
mod unit;

use anyhow::{Result, bail};

use self::{generated::Generated, tools::Tools};
use crate::command::say;
use crate::workspace::Workspace;

/// Check what is in deploy/: the Helm chart, the kustomize base, the systemd unit
///
/// Fetches Helm, kubectl and the schemas of Kubernetes under the target folder, if they are missing; the
/// chart is rendered with every file of values for every version of Kubernetes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// First write again what is made from the chart: the rendered examples, the kustomize base and the table
    /// of values
    #[arg(long)]
    update: bool,
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::locate()?;
    if arguments.update {
        let tools = Tools::ensure(&workspace)?;
        generated(&workspace, &tools)?
            .iter()
            .try_for_each(Generated::write)?;
    }
    check(&workspace)
}

/// Fails if something in `deploy/` is wrong or not up to date; the error lists everything that is.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let tools = Tools::ensure(workspace)?;
    let checks: [(&str, &dyn Fn() -> Result<()>); 8] = [
        ("values and their schema", &|| {
            chart::documented(workspace, &tools)
        }),
        ("helm lint, and values that must be refused", &|| {
            chart::lint(workspace, &tools)
        }),
        ("every file of values for every Kubernetes", &|| {
            chart::validate(workspace, &tools)
        }),
        ("rendered examples, and the table of values", &|| {
            generated(workspace, &tools)?
                .iter()
                .try_for_each(Generated::check)
        }),
        ("kustomize", &|| kustomize::check(workspace, &tools)),
        ("the example in Kubernetes", &|| {
            example::manifests(workspace, &tools)
        }),
        ("the example in Docker", &|| example::compose(workspace)),
        ("the unit of systemd", &|| unit::check(workspace)),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        say(&format!("deploy: {name}"));
        if let Err(error) = check() {
            say(&format!("{name}: {error:#}"));
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("deploy/ is not as it should be: {}", failed.join(", "));
    }
    say("deploy: all clean");
    Ok(())
}

/// Everything that is made from the chart and kept in the tree.
fn generated(workspace: &Workspace, tools: &Tools) -> Result<Vec<Generated>> {
    Ok(vec![
        chart::examples(workspace, tools)?,
        kustomize::base(workspace, tools)?,
        readme::table(workspace)?,
    ])
}

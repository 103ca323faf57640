//! Everything CI checks, in order.

use anyhow::Result;

use crate::progress::Progress;
use crate::workspace::Workspace;
use crate::{codegen, deploy, lint, programs, test};

/// Run what CI runs: the prebuilt object, lint, generated code, what is in deploy/,
/// then every test
#[derive(clap::Args)]
pub(crate) struct Arguments {}

/// Runs the subcommand.
pub(crate) fn run(_: &Arguments) -> Result<()> {
    let mut progress = Progress::new(5);
    let workspace = Workspace::locate()?;
    progress.part("the prebuilt object, against one built here");
    programs::check(&workspace, &programs::build(&workspace)?)?;
    progress.part("lint");
    lint::run(&lint::Arguments::default())?;
    progress.part("generated code");
    codegen::run(true)?;
    progress.part("the chart, the manifests and the unit");
    deploy::check(&workspace)?;
    progress.part("every test");
    test::run(&test::Arguments::everything())
}

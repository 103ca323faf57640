//! Everything CI checks, in order.

use anyhow::Result;

use crate::{lint, test};

/// Run what CI runs: lint, then all tests.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

/// Runs the subcommand.
pub(crate) fn run(_: &Arguments) -> Result<()> {
    lint::run(&lint::Arguments::default())?;
    test::run(&test::Arguments::default())
}

//! Checks that the release works: on the real kernel, in roots and interpreters that are independent of this machine.

mod agent;
mod packages;
mod proof;
mod reproduced;
mod roots;
mod sites;
mod sizes;
mod wheels;

use anyhow::{Context as _, Result};
use xtask::{command::say, workspace::Workspace};

use crate::{Part, folders::Folders, release::Release, tools::Tools};

/// Checks the parts that were made in `folders`; stops at the first failure.
pub(crate) fn run(
    workspace: &Workspace,
    tools: &Tools,
    release: &Release,
    folders: &Folders,
    parts: &[Part],
) -> Result<()> {
    let begin = |what: &str| say(&format!("checking {what}"));
    if parts.contains(&Part::Agent) {
        begin("the binary");
        agent::check(release, folders).context("the binary")?;
        begin("the packages");
        packages::check(workspace, tools, release, folders).context("the packages")?;
    }
    if parts.contains(&Part::Wheels) {
        begin("the wheels");
        wheels::check(workspace, tools, folders, parts).context("the wheels")?;
    }
    begin("that a build in another folder is the same");
    reproduced::check(workspace, tools, release, folders, parts)?;
    say("all checks have passed");
    Ok(())
}

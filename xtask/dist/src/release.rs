//! A release: its version, its commit, and the time of the commit.

use std::{
    env,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use xtask::{
    command::{self, say},
    workspace::Workspace,
};

/// The variable that names the commit if git does not know it.
pub(crate) const COMMIT: &str = "SPANPROF_COMMIT";
/// The variable with the time of the sources, for every tool that records a time: <https://reproducible-builds.org/specs/source-date-epoch/>.
pub(crate) const EPOCH: &str = "SOURCE_DATE_EPOCH";

/// A release is the same for everything that one run makes.
#[derive(Debug)]
pub(crate) struct Release {
    /// The version of the workspace.
    pub(crate) version: &'static str,
    /// 40 hexadecimal digits, and `-modified` if the tree has changes; or `unknown`.
    pub(crate) commit: String,
    /// Seconds since 1970, UTC: when the commit was made.
    pub(crate) epoch: u64,
}

impl Release {
    /// Asks the environment first, then git.
    ///
    /// # Errors
    /// Neither knows the time of the sources.
    pub(crate) fn of(workspace: &Workspace) -> Result<Self> {
        let git = |arguments: &[&str]| {
            command::probe(
                Command::new("git")
                    .args(arguments)
                    .current_dir(&workspace.root),
            )
        };
        let describe = [
            "describe",
            "--always",
            "--abbrev=40",
            "--exclude=*",
            "--dirty=-modified",
        ];
        let named = env::var(COMMIT).ok().filter(|commit| !commit.is_empty());
        let commit = named
            .or_else(|| git(&describe))
            .unwrap_or_else(|| "unknown".to_owned());
        let epoch = env::var(EPOCH)
            .ok()
            .or_else(|| git(&["log", "-1", "--format=%ct"]))
            .with_context(|| {
                format!("git does not know when the sources were made: set {EPOCH} to the seconds since 1970")
            })?;
        let epoch = epoch
            .trim()
            .parse()
            .with_context(|| format!("{EPOCH} is no number of seconds: {epoch}"))?;
        let release = Self {
            version: env!("CARGO_PKG_VERSION"),
            commit,
            epoch,
        };
        say(&format!(
            "releasing {} of commit {}",
            release.version, release.commit
        ));
        Ok(release)
    }

    /// The time of the commit.
    ///
    /// # Errors
    /// The time is out of the system's range.
    pub(crate) fn time(&self) -> Result<SystemTime> {
        let time = UNIX_EPOCH.checked_add(Duration::from_secs(self.epoch));
        time.context("the commit is too far in the future")
    }
}

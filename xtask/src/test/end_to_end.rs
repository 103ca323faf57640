//! The end-to-end tests: as root, in two lanes.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anyhow::{Context as _, Result};

use super::{
    Arguments,
    compiled::Compiled,
    prepare::{ForEndToEnd, Pythons},
};
use crate::command::{self, say};
use crate::progress::Progress;
use crate::summary::Summary;
use crate::workspace::Workspace;

/// A lane: a program of `tests/tests`, and how many of its tests run at a time.
///
/// Tests that record their own processes and count samples run together. Tests that record the whole host,
/// watch what other tests would change, or measure time run alone.
const LANES: [(&str, &str, &str); 2] = [
    ("together", "2", "end-to-end tests, two at a time"),
    ("alone", "1", "end-to-end tests, one at a time"),
];

/// Variables that the caller may set. One makes tests of single samples take ten times as many; one names the packaged
/// image, in which the tests of pods then run the agent.
const BY_CALLER: [&str; 2] = ["SPANPROF_FULL_COUNT", "SPANPROF_IMAGE"];

/// Runs them all.
pub(super) fn run(
    workspace: &Workspace,
    arguments: &Arguments,
    compiled: &Compiled,
    pythons: &Pythons,
    more: &ForEndToEnd,
    progress: &mut Progress,
    total: &mut Summary,
) -> Result<()> {
    let path = path(workspace)?;
    for (name, threads, what) in LANES {
        progress.part(what);
        for test in compiled
            .end_to_end
            .iter()
            .filter(|test| test.name.ends_with(name))
        {
            let by_caller = BY_CALLER.map(|name| (name, env::var_os(name)));
            let mut environment: Vec<(&str, &OsStr)> = vec![
                ("SPANPROF_BIN", compiled.agent.as_os_str()),
                ("SPANPROF_VENVS", OsStr::new(&pythons.list)),
                ("SPANPROF_RELEASES", OsStr::new(&more.releases)),
                ("SPANPROF_LOGFIRES", OsStr::new(&more.logfires)),
                ("SPANPROF_MATRIX", more.matrix.as_os_str()),
                ("SPANPROF_PEERS", more.peers.as_os_str()),
                ("SPANPROF_EXAMPLE", more.example.as_os_str()),
                ("SPANPROF_GO", more.go.as_os_str()),
                ("SPANPROF_COLLECTOR", more.collector.as_os_str()),
                ("SPANPROF_PROMETHEUS", more.prometheus.as_os_str()),
                ("CARGO_MANIFEST_DIR", test.folder.as_os_str()),
                ("PATH", &path),
                ("LC_ALL", OsStr::new("C.UTF-8")),
                ("CI", OsStr::new(if command::is_ci() { "true" } else { "" })),
            ];
            let set = by_caller.iter();
            environment.extend(set.filter_map(|(name, it)| Some((*name, it.as_deref()?))));
            let left_out = pythons.left_out.iter().chain(&more.left_out);
            let mut own = vec!["--test-threads", threads];
            own.extend(left_out.flat_map(|name| ["--skip", name.as_str()]));
            say(&format!("tests of {}", test.name));
            *total += arguments.run(&own, |arguments| {
                let mut command =
                    command::privileged(&test.program, &environment, "testing end to end")?;
                command.args(arguments).current_dir(&test.folder);
                Ok(command)
            })?;
        }
    }
    Ok(())
}

/// `PATH` as the tests need it as root: with our tools, and with the folders that Debian leaves out for users.
fn path(workspace: &Workspace) -> Result<OsString> {
    let path = workspace.path_with_tools()?;
    let folders = env::split_paths(&path).chain(command::ADMINISTRATORS.map(PathBuf::from));
    env::join_paths(folders).context("failed to complete PATH")
}

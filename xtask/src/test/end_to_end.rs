//! The end-to-end tests: as root, in two lanes.

use std::ffi::OsStr;

use anyhow::Result;

use super::{Arguments, compiled::Compiled, lacking, prepare::Pythons};
use crate::command::{self, say};
use crate::progress::Progress;
use crate::summary::{self, Summary};
use crate::workspace::Workspace;

/// A lane: a program of `tests/tests`, and how many of its tests run at a time.
///
/// Together run those that record processes of their own and count samples; alone those that record the
/// whole host, watch what others would change, or measure time.
const LANES: [(&str, &str, &str); 2] = [
    ("together", "2", "end-to-end tests, two at a time"),
    ("alone", "1", "end-to-end tests, one at a time"),
];

/// Runs them all.
pub(super) fn run(
    workspace: &Workspace,
    arguments: &Arguments,
    compiled: &Compiled,
    pythons: &Pythons,
    progress: &mut Progress,
    total: &mut Summary,
) -> Result<()> {
    if pythons.environments.is_empty() {
        *total += lacking("end-to-end tests: no interpreter to run them on");
        return Ok(());
    }
    if !command::is_root() && !command::can_become_root() {
        *total += lacking(
            "end-to-end tests: they load BPF programs and need root; run as root, or let sudo work",
        );
        return Ok(());
    }
    let path = workspace.path_with_tools()?;
    for (name, threads, what) in LANES {
        progress.part(what);
        for test in compiled
            .end_to_end
            .iter()
            .filter(|test| test.name.ends_with(name))
        {
            let environment: [(&str, &OsStr); 9] = [
                ("SPANPROF_BIN", compiled.agent.as_os_str()),
                ("SPANPROF_RELEASES", OsStr::new(&pythons.releases)),
                ("SPANPROF_MATRIX", pythons.matrix.as_os_str()),
                ("SPANPROF_VENVS", OsStr::new(&pythons.list)),
                ("SPANPROF_PEERS", pythons.peers.as_os_str()),
                ("CARGO_MANIFEST_DIR", test.folder.as_os_str()),
                ("PATH", &path),
                ("LC_ALL", OsStr::new("C.UTF-8")),
                ("CI", OsStr::new(if command::is_ci() { "true" } else { "" })),
            ];
            let mut command =
                command::privileged(&test.program, &environment, "testing end to end")?;
            command
                .args(["--test-threads", threads])
                .args(arguments.of_libtest())
                .args(pythons.left_out.iter().flat_map(|name| ["--skip", name]))
                .current_dir(&test.folder);
            say(&format!("tests of {}", test.name));
            *total += summary::run(&mut command)?;
        }
    }
    Ok(())
}

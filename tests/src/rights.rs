//! Rights: commands that have some capabilities and no others, and what the threads of a process have.

#![expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "a test cannot go on without knowing what may be done"
)]

use std::fs;

/// The six that the agent asks for, as `setpriv` calls them.
pub const SIX: [&str; 6] = [
    "bpf",
    "perfmon",
    "sys_ptrace",
    "dac_read_search",
    "syslog",
    "checkpoint_restore",
];

/// A user without rights; by custom `nobody`.
pub const NOBODY: &str = "65534";

/// A list for `setpriv`: these and no others.
fn list(capabilities: &[&str]) -> String {
    let mut list = "-all".to_owned();
    for name in capabilities {
        list.push_str(",+");
        list.push_str(name);
    }
    list
}

/// What starts a command as root with these capabilities.
pub fn root_with(capabilities: &[&str]) -> Vec<String> {
    [
        "setpriv",
        "--no-new-privs",
        "--bounding-set",
        &list(capabilities),
    ]
    .map(str::to_owned)
    .to_vec()
}

/// What starts a command as an ordinary user with these capabilities, as systemd's `AmbientCapabilities=` does.
pub fn nobody_with(capabilities: &[&str]) -> Vec<String> {
    let list = list(capabilities);
    let mut words = vec!["setpriv", "--no-new-privs", "--clear-groups"];
    words.extend(["--reuid", NOBODY, "--regid", NOBODY]);
    for set in ["--inh-caps", "--ambient-caps", "--bounding-set"] {
        words.extend([set, &list]);
    }
    words.into_iter().map(str::to_owned).collect()
}

/// A thread of a process, and what it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// Its name.
    pub name: String,
    /// Its sets, by their names in `/proc/PID/status`: `CapEff` and the others, as bits.
    pub sets: Vec<(String, u64)>,
}

impl Thread {
    /// One of its sets.
    pub fn set(&self, name: &str) -> u64 {
        let found = self.sets.iter().find(|(set, _)| set == name);
        found.expect("every kernel tells").1
    }
}

/// All threads of a process.
pub fn threads(pid: u32) -> Vec<Thread> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let statuses = tasks.filter_map(|task| {
        // A thread may end meanwhile.
        fs::read_to_string(task.ok()?.path().join("status")).ok()
    });
    statuses.map(|status| thread(&status)).collect()
}

fn thread(status: &str) -> Thread {
    let fields = || status.lines().filter_map(|line| line.split_once(":\t"));
    let name = fields().find(|(field, _)| *field == "Name");
    let sets = fields().filter(|(field, _)| field.starts_with("Cap"));
    Thread {
        name: name.expect("every thread has one").1.to_owned(),
        sets: sets
            .map(|(set, bits)| {
                let bits = u64::from_str_radix(bits, 16).expect("hexadecimal digits");
                (set.to_owned(), bits)
            })
            .collect(),
    }
}

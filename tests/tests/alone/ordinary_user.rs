//! The agent as a systemd unit starts it: an ordinary user with six capabilities as ambient ones, which can gain
//! no others, below a root that it cannot write to, without tracefs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;
use tests::{
    agent::{self, Agent, samples},
    pretend_pyroscope::PretendPyroscope,
    process::Running,
    python::{Workload, with_newest},
    rights::{NOBODY, SIX, nobody_with, threads},
    spanprof::{self, behind},
};

/// Makes everything read-only and hides tracefs and debugfs, but for a runtime directory of the user's own.
const CONFINED: &str = r#"
set -e
mkdir -p "$RUNTIME_DIRECTORY"
mount -t tmpfs -o mode=0755 tmpfs "$RUNTIME_DIRECTORY"
chown 65534:65534 "$RUNTIME_DIRECTORY"
for place in /sys/kernel/tracing /sys/kernel/debug; do
    if [ -d $place ]; then mount -t tmpfs -o ro tmpfs $place; fi
done
mount --bind / /
mount -o remount,ro,bind /
exec "$@"
"#;

/// A copy of the binary that everybody may execute: the folder of the build may be closed to others.
fn open_to_all() -> (TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("spanprof");
    fs::copy(spanprof::binary(), &binary).unwrap();
    for path in [folder.path(), &binary] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = binary.display().to_string();
    (folder, path)
}

/// A command of that copy, which locks no file but that of its unit.
fn unit(binary: &str, runtime_directory: &Path, arguments: &[&str]) -> Command {
    let ours = agent::command(arguments);
    let mut command = Command::new(binary);
    command.args(ours.get_args());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SPANPROF_") {
            command.env_remove(name);
        }
    }
    command.env("RUNTIME_DIRECTORY", runtime_directory);
    command
}

/// It attributes the samples of root's process to their spans, puts the package's probes on, and loses nothing.
#[test]
fn with_six_capabilities() {
    with_newest(|python| {
        let (folder, binary) = open_to_all();
        let runtime_directory = folder.path().join("run");
        let server = PretendPyroscope::start();
        let url = server.url();
        let arguments = ["--frequency", "199", "--upload-interval", "1s"];
        let more = ["--span-probes", "always", "--pyroscope-url", &url];
        let command = unit(&binary, &runtime_directory, &[arguments, more].concat());
        let starter = nobody_with(&SIX);
        let starter: Vec<&str> = starter.iter().map(String::as_str).collect();
        let confined = ["unshare", "--mount", "sh", "-c", CONFINED, "sh"];
        let command = behind(&starter, command);
        let mut program = python.program("quiet_roots.py", &[]);
        // The probes are not going to be taken off.
        let mut workload = Workload::start(program.env("PROBES_STAY", "1"));
        let agent = Agent::run(server, &mut behind(&confined, command));
        // A wrapper that has started the command has been replaced by now: the pid is the agent's.
        let lines = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
        let line = |name: &str| {
            let line = lines.lines().find(|line| line.starts_with(name));
            line.unwrap_or_default().to_owned()
        };
        assert_eq!(line("Name:"), "Name:\tspanprof");
        assert_eq!(
            line("Uid:"),
            format!("Uid:{}", format!("\t{NOBODY}").repeat(4))
        );
        assert_eq!(line("NoNewPrivs:"), "NoNewPrivs:\t1");
        workload.begin();
        let facts = workload.facts("roots");
        // Windows are pushed in the meantime.
        let said = agent.said();
        for thread in threads(agent.pid()) {
            let six = thread.set("CapBnd");
            assert_eq!(six.count_ones(), 6, "{thread:#?}");
            assert_eq!(thread.set("CapPrm") & !six, 0, "{thread:#?}");
        }
        let (server, ended) = agent.stop();
        assert!(ended.status.success(), "{ended:#?}");
        let route = if kernel_has_multi() {
            "uprobe_multi links"
        } else {
            "perf uprobes"
        };
        assert!(said.contains(&format!("are put on by {route}")), "{said}");
        assert!(!said.contains("is missing"), "{said}");
        assert_eq!(facts["probed"], true);
        assert_eq!(agent::counted(&ended.stderr, "span_probes_failed"), 0);
        assert!(agent::counted(&ended.stderr, "spans_started") >= 300);
        let samples = samples(&server, "odd");
        let in_child = samples
            .iter()
            .filter(|it| it.stack.iter().any(|name| name == "in_child"));
        let roots: BTreeMap<String, String> =
            serde_json::from_value(facts["roots"].clone()).unwrap();
        let roots: BTreeSet<&String> = roots.values().collect();
        let (mut right, mut all) = (0, 0);
        for sample in in_child {
            all += sample.value;
            let is_right = sample.span_id.as_ref().is_some_and(|id| roots.contains(id));
            right += if is_right { sample.value } else { 0 };
        }
        assert!(
            all > 500_000_000 && right * 100 >= all * 95,
            "{right} of {all}"
        );
    });
}

fn kernel_has_multi() -> bool {
    let ended = spanprof::run(&["doctor", "--json", "--sample", "100ms"]);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    report["host"]["span probes"]["says"] == "by uprobe_multi links"
}

/// If it may not write anywhere, it says so, and what to do; nothing is left half started.
#[test]
fn without_a_folder() {
    if !spanprof::is_ready() {
        return;
    }
    let (folder, binary) = open_to_all();
    let starter = nobody_with(&SIX);
    let starter: Vec<&str> = starter.iter().map(String::as_str).collect();
    let run = |change: fn(&mut Command)| {
        let missing = folder.path().join("missing");
        let mut command = unit(
            &binary,
            &missing,
            &["--pyroscope-url", "http://127.0.0.1:9"],
        );
        change(&mut command);
        Running::start(&mut behind(&starter, command)).wait()
    };
    let ended = run(|_| {});
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    for says in ["missing/agent.lock", "--lock-file", "RuntimeDirectory="] {
        assert!(ended.stderr.contains(says), "no {says:?} in {ended:#?}");
    }
    let ended = run(|command| {
        command.env_remove("RUNTIME_DIRECTORY");
    });
    assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
    for says in [
        "/run/spanprof-agent.lock",
        "Permission denied",
        "RuntimeDirectory=",
    ] {
        assert!(ended.stderr.contains(says), "no {says:?} in {ended:#?}");
    }
}

/// A unit's agent and one that root starts by hand notice each other, whichever was first, though neither may write
/// to the folder of the other's lock.
#[test]
fn one_agent_with_root() {
    const SCRIPT: &str = r#"
set -e
mount -t tmpfs tmpfs /run
mkdir /run/spanprof
chown 65534:65534 /run/spanprof
root=/run/spanprof-agent.lock
unit=/run/spanprof/agent.lock
as_unit() { RUNTIME_DIRECTORY=/run/spanprof exec $STARTER "$@"; }
(as_unit "$@") & first=$!
until [ -s $unit ]; do kill -0 $first; sleep 0.1; done
if "$@"; then exit 1; fi
echo "the unit's is $(cat $unit)"
kill -KILL $first
wait $first || true
"$@" & second=$!
until [ -s $root ] && [ "$(cat $root)" = $second ]; do kill -0 $second; sleep 0.1; done
if (as_unit "$@"); then exit 1; fi
echo "root's is $second"
"#;
    if !spanprof::is_ready() {
        return;
    }
    let (folder, binary) = open_to_all();
    let mut command = unit(
        &binary,
        folder.path(),
        &["--pyroscope-url", "http://127.0.0.1:9"],
    );
    command.env_remove("RUNTIME_DIRECTORY");
    command.env("STARTER", nobody_with(&SIX).join(" "));
    let starter = [
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
    ];
    let starter = [starter.as_slice(), &[SCRIPT, "sh"]].concat();
    let ended = Running::start(&mut behind(&starter, command)).wait();
    assert!(ended.status.success(), "{ended:#?}");
    for whose in ["the unit's is ", "root's is "] {
        let pid = ended
            .stdout
            .lines()
            .find_map(|line| line.strip_prefix(whose));
        let says = format!(
            "another spanprof agent runs on this host: pid {}, ",
            pid.unwrap()
        );
        assert_eq!(
            ended.stderr.matches(&says).count(),
            1,
            "{whose}: {ended:#?}"
        );
    }
}

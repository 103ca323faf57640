//! What the agent says of its host, and that agents do not get into each other's way.

use std::{fs, process::Command};

use tests::{
    agent::{self, Agent},
    pretend_pyroscope::PretendPyroscope,
    process::Running,
    python::{Python, Workload, with_newest},
    spanprof,
};

fn start(python: &Python) -> Workload {
    Workload::start(&mut python.program("nested.py", &["1.0"]))
}

/// The label `host_name` of what an agent has pushed: the same on every profile.
fn label(python: &Python, arguments: &[&str]) -> Option<String> {
    let agent = Agent::start(arguments);
    let mut workload = start(python);
    workload.begin();
    workload.facts("cpu");
    let (server, _) = agent.stop();
    assert_eq!(server.refusals(), []);
    let profiles = server.profiles();
    let mut labels = profiles.iter().map(|it| it.label("host_name"));
    let first = labels.next().expect("a profile");
    assert!(labels.all(|label| label == first));
    first.map(str::to_owned)
}

/// Every profile says which host it is of, unless that is not wanted.
#[test]
fn host_label() {
    with_newest(|python| {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").expect("every kernel has one");
        assert_eq!(label(python, &[]).as_deref(), Some(name.trim_end()));
        let given = label(python, &["--host-name", "node-1"]);
        assert_eq!(given.as_deref(), Some("node-1"));
        assert_eq!(label(python, &["--host-name-label", "off"]), None);
    });
}

/// In a container with a name of its own it is the name that the first process sees; where that is not the
/// host's, the agent says so.
#[test]
fn host_of_a_container() {
    if !spanprof::is_ready() {
        return;
    }
    let server = PretendPyroscope::start();
    let url = server.url();
    let agent = agent::command(&["--pyroscope-url", &url]);
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--uts"]);
    let script = "echo node-7 > /proc/sys/kernel/hostname && unshare --uts \
                  sh -c 'echo pod-1 > /proc/sys/kernel/hostname && exec \"$@\"' sh \"$@\"";
    command.args(["sh", "-c", script, "sh"]);
    command.arg(agent.get_program()).args(agent.get_args());
    let agent = Agent::run(server, &mut command);
    let said = agent.said();
    assert!(said.contains("host_name=\"node-7\""), "{said}");
    assert!(!said.contains("pod-1"), "{said}");
    assert!(said.contains("hostPID"), "{said}");
}

/// A variable that Kubernetes should have filled, and has not, ends the agent: its host would have no name.
#[test]
fn host_without_a_name() {
    if !spanprof::is_ready() {
        return;
    }
    let mut command = agent::command(&["--pyroscope-url", "http://127.0.0.1:1"]);
    let ended = Running::start(command.env("SPANPROF_HOST_NAME", "")).wait();
    assert!(!ended.status.success(), "{ended:#?}");
    assert!(ended.stderr.contains("--host-name"), "{}", ended.stderr);
}

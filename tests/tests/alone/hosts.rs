//! What the agent says of its host, and that agents do not get into each other's way.

use std::{fs, process::Command};

use tests::{
    agent::{self, Agent, at_least, at_most, seconds},
    pretend_pyroscope::{PretendPyroscope, Storage},
    process::{Running, Signal},
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
    let first = labels.next().unwrap();
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

/// In a container with another name, the agent takes the name as the first process sees it; if that may not be the
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

/// Two agents that profile the same processes and push to one server, under all the same labels but the
/// host's: each is kept whole, on both storages.
#[test]
fn two_agents() {
    with_newest(|python| {
        for storage in [Storage::V1, Storage::V2] {
            let arguments = ["--host-name", "one"];
            let first = Agent::with(PretendPyroscope::with(storage), &arguments);
            let url = first.server.url();
            let mut second = agent::command(&["--host-name", "two", "--pyroscope-url", &url]);
            second.args(["--frequency", "199", "--upload-interval", "1s"]);
            let second = Running::start(&mut second);
            second.stderr.wait_for("profiling");
            let mut workload = python.start("labelled.py", &["of both", "1.5"]);
            workload.begin();
            let told = workload.facts("used")["used"].as_f64().unwrap();
            second.signal(Signal::TERM);
            assert!(second.wait().status.success());
            let least = at_least(told, first.since);
            let (server, _) = first.stop();
            server.compact();
            for host in ["one", "two"] {
                let profiles = server.profiles().into_iter();
                let of_host = profiles.filter(|it| {
                    it.label("service_name") == Some("of both")
                        && it.label("host_name") == Some(host)
                });
                let sum: i64 = of_host.flat_map(|it| it.samples).map(|it| it.value).sum();
                let sampled = seconds(sum);
                // With what the interpreter does besides.
                let right = least..at_most(told) + 0.5;
                assert!(
                    right.contains(&sampled),
                    "{host}: {sampled} of {told}, {storage:?}, {right:?}"
                );
            }
            assert_eq!(server.refusals(), []);
        }
    });
}

/// In containers, with separate files but the host's processes visible, a second agent refuses to start and
/// names the first one; an agent that was killed leaves nothing behind.
#[test]
fn one_agent_per_host() {
    const SCRIPT: &str = r#"
set -e
lock=/run/spanprof-agent.lock
mount -t tmpfs tmpfs /run
contained='mount -t tmpfs tmpfs /run && exec "$@"'
unshare --mount sh -c "$contained" sh "$@" & first=$!
until [ -s $lock ]; do sleep 0.1; done
if unshare --mount sh -c "$contained" sh "$@"; then exit 1; fi
echo "the first is $first"
kill -KILL $first
wait $first || true
unshare --mount sh -c "$contained" sh "$@" & third=$!
until [ "$(cat $lock)" = $third ]; do kill -0 $third; sleep 0.1; done
stat -c "the file is of %u, %a" $lock
"#;
    if !spanprof::is_ready() {
        return;
    }
    let agent = agent::command(&["--pyroscope-url", "http://127.0.0.1:1"]);
    let mut command = Command::new("unshare");
    command.env_remove("SPANPROF_LOCK_FILE");
    command.args([
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        "-c",
    ]);
    command
        .args([SCRIPT, "sh"])
        .arg(agent.get_program())
        .args(agent.get_args());
    let ended = Running::start(&mut command).wait();
    assert!(ended.status.success(), "{ended:#?}");
    let first = ended
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("the first is "));
    let says = format!(
        "another spanprof agent runs on this host: pid {}, ",
        first.expect("its pid")
    );
    assert_eq!(ended.stderr.matches(&says).count(), 1, "{ended:#?}");
    assert!(ended.stderr.contains("--lock-file"), "{ended:#?}");
    assert!(ended.stdout.contains("the file is of 0, 600"), "{ended:#?}");
}

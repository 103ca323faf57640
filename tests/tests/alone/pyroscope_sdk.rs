//! `pyroscope-io` in a service that the agent pushes, too: the agent warns once, and only while it runs.

use std::process::Command;

use serde_json::Value;
use tests::{
    agent::Agent,
    peers,
    python::{Workload, forget_the_caller},
    spanprof,
};

/// Imports the SDK, or does not, and starts it on the test's order; busy all the time.
const PROGRAM: &str = "
import json, sys, threading, time
if sys.argv[1] == 'import':
    import pyroscope
def configure():
    sys.stdin.readline()
    pyroscope.configure(application_name='migrating', server_address=sys.argv[2])
    print(json.dumps({'runs': True}), flush=True)
threading.Thread(target=configure, daemon=True).start()
print(json.dumps({'ready': True}), flush=True)
while True:
    for _ in range(100000):
        pass
    time.sleep(0.01)
";
/// How the warning begins.
const WARNING: &str = "pyroscope-io runs in a process of this service";

/// What `doctor` says of a process, as JSON and as text.
fn doctor(workload: &Workload) -> (String, String) {
    let pid = workload.pid();
    let arguments = ["doctor", "--no-sample", "--pid", &pid];
    let json = spanprof::run(&[&arguments[..], &["--json"]].concat());
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    let state = json["processes"][0]["pyroscope_sdk"].as_str();
    (state.unwrap().to_owned(), spanprof::run(&arguments).stdout)
}

/// The agent does not warn of a process that has the SDK only installed or imported. Once the SDK runs in two processes
/// of a service, the agent warns of the service once, and `doctor` names the processes.
#[test]
fn the_sdk_is_told_of_once() {
    if !spanprof::is_ready() {
        return;
    }
    let Some(python) = peers::program("python") else {
        return;
    };
    let agent = Agent::start(&[]);
    let url = agent.server.url();
    let start = |how: &str| {
        let mut command = Command::new(&python);
        forget_the_caller(&mut command);
        command.args(["-c", PROGRAM, how, &url]);
        Workload::start(command.env("OTEL_SERVICE_NAME", "migrating"))
    };
    let without = start("without");
    let mut with = [start("import"), start("import")];
    // Profiled, and so looked at, for a while.
    agent.wait_for_service("migrating");
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(!agent.said().contains(WARNING), "{}", agent.said());
    for (workload, expected) in [(&without, "absent"), (&with[0], "imported")] {
        let (state, text) = doctor(workload);
        assert_eq!(state, expected);
        assert!(!text.contains("pyroscope-io"), "{text}");
    }
    for workload in &mut with {
        workload.begin();
        workload.facts("runs");
    }
    let warning = agent.wait_for(WARNING);
    assert!(warning.contains("migrating"), "{warning}");
    std::thread::sleep(std::time::Duration::from_secs(4));
    let said = agent.said();
    assert_eq!(said.matches(WARNING).count(), 1, "{said}");
    for workload in &with {
        let (state, text) = doctor(workload);
        assert_eq!(state, "running");
        let line = format!("process {}: pyroscope-io runs in it", workload.pid());
        assert!(text.contains(&line), "{text}");
    }
    agent.stop();
}

//! Which service a process is, whoever says so and whenever the recording begins.

use std::process::Command;

use serde_json::Value;
use tests::{
    profile::Row,
    python::{Python, Workload, releases, with_newest},
    spanprof::{self, Recording},
};

/// What a workload does for its name, its environment, and the service that its processes are: the one that was started,
/// and the one that it forks, if it does.
type Case = (
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
    [&'static str; 2],
);

const CHECKOUT: &[(&str, &str)] = &[("OTEL_SERVICE_NAME", "checkout")];
const NAMELESS: &[(&str, &str)] = &[("OTEL_SERVICE_NAME", "unknown_service")];

const CASES: [Case; 8] = [
    (&["setproctitle"], CHECKOUT, ["checkout"; 2]),
    (&["title"], &[], ["owner"; 2]),
    (&["title", "code"], CHECKOUT, ["named in code"; 2]),
    (&["code", "wrapped"], &[], ["named in code"; 2]),
    (&["fork", "package"], &[], ["owner"; 2]),
    (&["fork", "title"], CHECKOUT, ["checkout"; 2]),
    (&["fork", "code", "package"], NAMELESS, ["named in code"; 2]),
    (&["fork", "own"], CHECKOUT, ["checkout", "named in code"]),
];

/// CPU time of each process, in seconds.
const SECONDS: &str = "0.6";

fn start(python: &Python, (ways, environment, _): &Case) -> Workload {
    let arguments: Vec<&str> = [SECONDS].iter().chain(*ways).copied().collect();
    let mut command: Command = python.program("owner.py", &arguments);
    command.envs(environment.iter().copied());
    Workload::start(&mut command)
}

fn pids(workload: &Workload) -> Vec<String> {
    let pids = &workload.facts("pids")["pids"];
    let pids = pids.as_array().unwrap().iter();
    pids.map(|it| it.as_str().unwrap().to_owned()).collect()
}

/// Every process is the service that it should be, whether it was there before the recording or not: a title hides
/// nothing, the SDK's word for no name is none, and a forked worker is its parent's service unless it says otherwise. What
/// is said in code is known once somebody has looked, which takes a part of the work.
#[test]
fn who_a_process_is() {
    with_newest(|python| {
        let start_all = || -> Vec<Workload> { CASES.iter().map(|it| start(python, it)).collect() };
        let mut before = start_all();
        let recording = Recording::start(&["--frequency", "499"]);
        let mut after = start_all();
        let mut started = Vec::new();
        for (workload, case) in before
            .iter_mut()
            .zip(CASES)
            .chain(after.iter_mut().zip(CASES))
        {
            workload.begin();
            started.push((pids(workload), case));
        }
        let profile = recording.stop().profile;
        for (pids, (ways, _, services)) in started {
            for (pid, service) in pids.iter().zip(services) {
                let of_process = |row: &Row| row.label("pid") == pid && row.is_in("burn_span");
                let all = profile.seconds_of(|row| of_process(row));
                let right = profile
                    .seconds_of(|row| of_process(row) && row.label("service_name") == service);
                eprintln!("{ways:?}: {right} of {all} s of {pid} are of {service}");
                assert!(all > 0.1, "{ways:?}: {all}");
                assert!(right > 0.6 * all, "{ways:?}: {right} of {all}");
            }
        }
    });
}

/// What `doctor` says of a process.
fn doctor(pid: &str) -> Value {
    let ended = spanprof::run(&["doctor", "--json", "--no-sample", "--pid", pid]);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    report["processes"][0].clone()
}

/// A service that is named in code is that service with every release of OpenTelemetry.
#[test]
fn named_in_code() {
    for python in releases() {
        let workload = python.start("owner.py", &["0", "title", "code"]);
        let process = doctor(&workload.pid());
        let said = ["service_name", "service_namespace", "service_named_by"].map(|it| &process[it]);
        let expected = ["named in code", "of code", "tracer provider"];
        assert_eq!(said, expected, "{}: {process}", python.version);
    }
}

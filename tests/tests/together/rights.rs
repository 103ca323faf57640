//! Each capability is taken away for real: what `doctor` says is lost is what a recording loses, and nothing else.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;
use tests::{
    agent::{self, Agent},
    compile::compile,
    pretend_pyroscope::PretendPyroscope,
    process::{Ended, Running, eventually},
    profile::Profile,
    python::{Python, Workload, with_newest},
    rights::{NOBODY, SIX, Thread, root_with, threads},
    spanprof::{self, Recording, behind},
};

/// `CAP_BPF` and others: bits in the kernel's `include/uapi/linux/capability.h`.
const BPF: u64 = 1 << 39;
const PERFMON: u64 = 1 << 38;
const SYSLOG: u64 = 1 << 34;

fn start(python: &Python, folder: &Path, user: &str) -> Workload {
    let library = folder.join("closed.so");
    compile("closed_library.c", &library, &["-shared", "-fPIC"]);
    python.start("rights.py", &[library.to_str().unwrap(), user])
}

/// As the kernel calls it.
fn name(capability: &str) -> String {
    format!("CAP_{}", capability.to_uppercase())
}

fn six_without(capability: &str) -> Vec<String> {
    let rest: Vec<&str> = SIX.into_iter().filter(|it| *it != capability).collect();
    root_with(&rest)
}

fn words(starter: &[String]) -> Vec<&str> {
    starter.iter().map(String::as_str).collect()
}

fn run(starter: &[String], arguments: &[&str]) -> Ended {
    Running::start(&mut behind(&words(starter), spanprof::command(arguments))).wait()
}

/// What `doctor` says of the host, and how it ends.
fn doctor(starter: &[String], pid: &str) -> (Value, String) {
    let arguments = ["doctor", "--pid", pid, "--sample", "100ms"];
    let text = run(starter, &arguments).stdout;
    let json = run(starter, &[arguments.as_slice(), &["--json"]].concat());
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json.status.success(), report["works"] == true, "{json:#?}");
    (report, text.lines().last().unwrap_or_default().to_owned())
}

/// What is in a profile of `rights.py`, of the three things that capabilities buy.
fn kept(profile: &Profile) -> BTreeMap<&'static str, bool> {
    let in_span = profile.by_label("span_name").get("work").copied();
    let all: i64 = profile.rows.iter().map(|row| row.nanoseconds).sum();
    let frames = || profile.rows.iter().flat_map(|row| &row.frames);
    let has_named = |mapping: &str| {
        let mut of_mapping = frames().filter(|it| it.mapping == mapping).peekable();
        assert!(of_mapping.peek().is_some(), "no frame of {mapping}");
        of_mapping.any(|it| !it.name.starts_with(mapping))
    };
    BTreeMap::from([
        // All of it but what the first samples are for, or nothing.
        ("spans", in_span.unwrap_or(0) * 10 > all * 7),
        ("kernel", has_named("[kernel]")),
        ("library", frames().any(|it| it.name == "spin_in_library")),
    ])
}

/// What is lost without a capability.
fn lost(capability: &str) -> &'static str {
    match capability {
        "dac_read_search" => "spans",
        "syslog" => "kernel",
        "checkpoint_restore" => "library",
        _ => "everything",
    }
}

/// The six are enough for everything; without one of them `doctor` says which, and the recording loses what it
/// says.
#[test]
fn one_by_one() {
    with_newest(|python| {
        let folder = tempfile::tempdir().unwrap();
        for capability in SIX.into_iter().chain(["none"]) {
            // Another user's process is what reading across users is for; map_files is closed without that, too.
            let user = if capability == "checkpoint_restore" {
                "0"
            } else {
                NOBODY
            };
            let mut workload = start(python, folder.path(), user);
            let starter = six_without(capability);
            let (report, verdict) = doctor(&starter, &workload.pid());
            let check = &report["host"][name(capability)];
            if lost(capability) == "everything" && capability != "none" {
                assert_eq!(check["stops"], true, "{report:#}");
                assert!(verdict.contains("would NOT work"), "{verdict}");
                let ended = run(&starter, &["record", "--pid", &workload.pid()]);
                assert_eq!(ended.status.code(), Some(1), "{ended:#?}");
                // The very words.
                let (_, costs) = check["says"].as_str().unwrap().split_once(": ").unwrap();
                let says = format!("{} is missing ({costs})", name(capability));
                for part in [says.as_str(), check["remedy"].as_str().unwrap()] {
                    assert!(
                        ended.stderr.contains(part),
                        "no {part:?} in {}",
                        ended.stderr
                    );
                }
                continue;
            }
            let recording =
                Recording::behind(&words(&starter), &["--pid", &workload.pid(), "-F", "199"]);
            workload.begin();
            workload.facts("done");
            let recorded = recording.stop();
            let is_said = !check.is_null();
            if is_said {
                assert_eq!(check["stops"], false, "{report:#}");
                assert!(verdict.contains("less than it could have"), "{verdict}");
                assert!(
                    recorded.ended.stderr.contains(&name(capability)),
                    "{recorded:#?}"
                );
            } else {
                assert_eq!(report["host"]["rights"]["ok"], true, "{report:#}");
                assert!(verdict.ends_with("profiling works here"), "{verdict}");
            }
            for (what, is_kept) in kept(&recorded.profile) {
                let is_lost = is_said && lost(capability) == what
                    || capability == "dac_read_search" && what == "library";
                assert_eq!(is_kept, !is_lost, "{what} without {capability}");
            }
            // If the kernel shows its symbols to all, that capability changes nothing.
            let may_be_unsaid = ["none", "syslog"].contains(&capability);
            assert!(is_said || may_be_unsaid, "{report:#}");
        }
    });
}

/// Every thread of a running agent has the rights it needs and no more: those that talk to the server have none,
/// and no thread keeps the right to read the kernel's symbols, which have been read.
#[test]
fn threads_of_the_agent() {
    with_newest(|python| {
        let folder = tempfile::tempdir().unwrap();
        let server = PretendPyroscope::start();
        let url = server.url();
        let mut command = agent::command(&["--frequency", "199", "--pyroscope-url", &url]);
        command.args(["--upload-interval", "1s"]);
        let starter = root_with(&SIX);
        let agent = Agent::run(server, &mut behind(&words(&starter), command));
        let mut workload = start(python, folder.path(), "0");
        workload.begin();
        workload.facts("done");
        agent.wait_for_service("rights");
        let named = |name: &str, threads: &[Thread]| -> Vec<Thread> {
            threads
                .iter()
                .filter(|it| it.name == name)
                .cloned()
                .collect()
        };
        let threads = eventually("a data thread that has read the kernel's symbols", || {
            let threads = threads(agent.pid());
            let data = named("data", &threads);
            (data.len() == 1 && data[0].set("CapEff") & SYSLOG == 0).then_some(threads)
        });
        let mut seen = BTreeMap::new();
        for thread in &threads {
            *seen.entry(thread.name.as_str()).or_insert(0) += 1;
            let may = thread.set("CapPrm");
            assert_eq!(thread.set("CapEff"), may, "{thread:#?}");
            assert_eq!(thread.set("CapAmb"), 0, "{thread:#?}");
            let most = match thread.name.as_str() {
                "spanprof-io" | "spanprof-encode" => 0,
                "spanprof" | "data" => BPF,
                "looker" | "errands" | "symbols" => !(BPF | PERFMON | SYSLOG),
                "control" => !SYSLOG,
                other => panic!("an unknown thread: {other}"),
            };
            assert_eq!(may & !most, 0, "{thread:#?}");
        }
        for name in ["spanprof", "data", "control", "spanprof-encode"] {
            assert_eq!(seen.get(name), Some(&1), "{seen:?}");
        }
        // On a machine that is busy one may have been given up, and another has taken its place.
        for name in ["looker", "errands", "symbols"] {
            assert!(seen[name] >= 1, "{seen:?}");
        }
        assert!(seen["spanprof-io"] >= 2, "{seen:?}");
        let (_, ended) = agent.stop();
        assert!(ended.status.success(), "{ended:#?}");
        assert!(!ended.stderr.contains("cannot give up"), "{ended:#?}");
    });
}

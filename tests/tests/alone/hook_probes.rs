//! The hook's probes are attached only while they are needed, and the agent knows the same without them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tests::{
    compile::compile,
    on_every_python,
    process::Running,
    profile::Profile,
    python::{Python, Workload, with_newest},
    rights::{SIX, root_with},
    spanprof::{self, Recorded, Recording, behind},
};

on_every_python!(readable_context, forked_children);

/// Tells the workload that the probes are not going to be taken off.
const STAY: (&str, &str) = ("PROBES_STAY", "1");

fn record(python: &Python, environment: &[(&str, &str)], flags: &[&str]) -> (Recorded, Value) {
    let mut command = python.program("quiet_roots.py", &[]);
    let mut workload = Workload::start(command.envs(environment.iter().copied()));
    let pid = workload.pid();
    let mut arguments = vec!["--frequency", "199", "--pid", &pid];
    arguments.extend(flags);
    let recording = Recording::start(&arguments);
    workload.begin();
    let facts = workload.facts("roots");
    (recording.stop(), facts)
}

/// Samples of a child have its own root's id and name, though hardly a sample hits a root.
fn roots_are_right(profile: &Profile, facts: &Value) {
    let roots: BTreeMap<String, String> = serde_json::from_value(facts["roots"].clone()).unwrap();
    let (mut right, mut all) = (0, 0);
    let mut seen = BTreeSet::new();
    for row in profile.rows_in("in_child") {
        let samples = row.nanoseconds / profile.period;
        all += samples;
        let active = row.label("active_span_id");
        if active.is_empty() {
            continue;
        }
        assert_eq!(row.label("service_name"), "odd", "{row:#?}");
        assert_eq!(row.label("span_id"), roots[active], "{row:#?}");
        assert_eq!(row.label("span_name"), "request", "{row:#?}");
        assert_eq!(row.label("active_span_name"), "child", "{row:#?}");
        seen.insert(active.to_owned());
        right += samples;
    }
    assert!(right * 100 >= all * 95, "{right} of {all}");
    assert!(seen.len() > 60, "{} requests seen", seen.len());
}

/// If the context can be read, no probe is attached: the agent reads local roots, names and the service from what the
/// hook stores in the process.
fn readable_context(python: &Python) {
    let (recorded, facts) = record(python, &[], &[]);
    assert_eq!(facts["probed"], false);
    roots_are_right(&recorded.profile, &facts);
    assert_eq!(recorded.count("spans_started"), 0);
}

/// Idle processes that map the hook do not keep its probes on, which would cost the spans of all others: whether they
/// have had no span yet, spans before the package came, or spans with it.
#[test]
fn idle_processes() {
    with_newest(|python| {
        let cases = ["no_span", "before_the_package", "with_the_package"];
        let idle = cases.map(|case| python.start("idle.py", &[case]));
        let mut workload = python.start("quiet_roots.py", &[]);
        let pids = idle.iter().chain([&workload]).map(Workload::pid);
        let pids: Vec<String> = pids.flat_map(|pid| ["--pid".to_owned(), pid]).collect();
        let mut arguments = vec!["--frequency", "199"];
        arguments.extend(pids.iter().map(String::as_str));
        let recording = Recording::start(&arguments);
        workload.begin();
        let facts = workload.facts("roots");
        let recorded = recording.stop();
        assert_eq!(facts["probed"], false);
        assert_eq!(recorded.count("spans_started"), 0);
    });
}

/// If it cannot be read, they are attached.
#[test]
fn unreadable_context() {
    with_newest(|python| {
        let (recorded, facts) = record(python, &[("OWN_CONTEXT", "1"), STAY], &[]);
        assert_eq!(facts["probed"], true);
        roots_are_right(&recorded.profile, &facts);
    });
}

/// `--span-probes always` keeps them on.
#[test]
fn probes_that_are_wanted() {
    with_newest(|python| {
        let (recorded, facts) = record(python, &[STAY], &["--span-probes", "always"]);
        assert_eq!(facts["probed"], true);
        roots_are_right(&recorded.profile, &facts);
        assert_eq!(recorded.count("spans_started"), 300);
    });
}

/// Starts a command that sees tracefs, which may be mounted nowhere else.
const WITH_TRACEFS: [&str; 6] = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    "mount -t tracefs tracefs /sys/kernel/tracing && exec \"$@\"",
    "sh",
];

/// All spans of `quiet_roots.py` while probes are put on in one way alone.
fn record_by(python: &Python, starter: &[&str], route: &str, called: &str) {
    let mut workload = Workload::start(python.program("quiet_roots.py", &[]).envs([STAY]));
    let pid = workload.pid();
    let mut arguments = vec!["--frequency", "199", "--pid", &pid];
    arguments.extend(["--span-probes", "always", "--span-probe-route", route]);
    let recording = Recording::behind(starter, &arguments);
    workload.begin();
    let facts = workload.facts("roots");
    let recorded = recording.stop();
    let said = &recorded.ended.stderr;
    assert!(said.contains(&format!("are put on by {called}")), "{said}");
    assert_eq!(facts["probed"], true);
    assert_eq!(recorded.count("spans_started"), 300);
    assert_eq!(recorded.count("spans_ended"), 300);
    assert_eq!(recorded.count("span_probes_failed"), 0);
    roots_are_right(&recorded.profile, &facts);
}

/// Each of the kernel's ways to put probes on counts every span; that of Linux 6.6 and later needs no more rights
/// than sampling does.
#[test]
fn every_route() {
    with_newest(|python| {
        let six = root_with(&SIX);
        let six: Vec<&str> = six.iter().map(String::as_str).collect();
        if kernel_version() >= (6, 6) {
            record_by(python, &six, "multi", "uprobe_multi links");
        } else {
            tests::skip("uprobe_multi links need Linux 6.6");
        }
        record_by(python, &[], "perf", "perf uprobes");
        record_by(python, &WITH_TRACEFS, "tracefs", "tracefs uprobes");
    });
}

/// If no way works, the agent says of each why, once, and counts the hook; it takes samples nevertheless.
#[test]
fn no_route() {
    with_newest(|python| {
        let mut workload = python.start("quiet_roots.py", &[]);
        let pid = workload.pid();
        let arguments = ["--pid", &pid, "--span-probes", "always"];
        let route = ["--span-probe-route", "tracefs"];
        let recording = Recording::start(&[arguments.as_slice(), &route].concat());
        workload.begin();
        workload.facts("roots");
        let recorded = recording.stop();
        let said = &recorded.ended.stderr;
        let reason = "tracefs uprobes: tracefs is not mounted";
        assert_eq!(said.matches(reason).count(), 1, "{said}");
        assert_eq!(recorded.count("span_probes_failed"), 1);
        assert!(recorded.profile.samples() > 50);
    });
}

/// Events of tracefs outlive the process that made them: an agent removes those of an earlier one that was killed,
/// and leaves none when it ends.
#[test]
fn events_of_a_killed_agent() {
    const SCRIPT: &str = r#"
set -e
mount -t tracefs tracefs /sys/kernel/tracing
events=/sys/kernel/tracing/uprobe_events
"$@" --duration 10m & first=$!
until [ "$(grep -c p$first $events)" = 2 ]; do kill -0 $first; sleep 0.1; done
kill -KILL $first
wait $first || true
echo "left: $(grep -c p:spanprof/p$first $events)"
"$@" --duration 10m & second=$!
until [ "$(grep -c p$second $events)" = 2 ]; do kill -0 $second; sleep 0.1; done
echo "of the first: $(grep -c p:spanprof/p$first $events)"
kill -TERM $second
wait $second
echo "at the end: $(grep -c p:spanprof/ $events)"
"#;
    with_newest(|python| {
        let workload = python.start("quiet_roots.py", &[]);
        let pid = workload.pid();
        let mut arguments = vec!["record", "--pid", &pid, "--span-probes", "always"];
        arguments.extend(["--span-probe-route", "tracefs"]);
        let starter = ["unshare", "--mount", "sh", "-c", SCRIPT, "sh"];
        let ended = Running::start(&mut behind(&starter, spanprof::command(&arguments))).wait();
        for says in ["left: 2", "of the first: 0", "at the end: 0"] {
            assert!(ended.stdout.contains(says), "no {says:?} in {ended:#?}");
        }
    });
}

/// Children of `forks.py`, each of which hits both sites.
const CHILDREN: &str = "40";

/// Runs `forks.py` while probes are to be on; says whether they were, and how its children ended: by exit
/// code, or by signal as a negative number.
fn fork(python: &Python, library: &[&str]) -> (Recorded, bool, Vec<i64>) {
    let arguments = [&[CHILDREN], library].concat();
    let mut workload = python.start("forks.py", &arguments);
    let pid = workload.pid();
    let recording = Recording::start(&["--span-probes", "always", "--pid", &pid]);
    workload.begin();
    let facts = workload.facts("ended");
    let ended = serde_json::from_value(facts["ended"].clone()).unwrap();
    let probed = facts["probed"].as_bool().unwrap();
    (recording.stop(), probed, ended)
}

/// A child that is forked while probes are on goes on under them: what the kernel has put on the sites of
/// its parent, which has hit them, holds in the child as well.
fn forked_children(python: &Python) {
    let (recorded, probed, ended) = fork(python, &[]);
    assert!(probed);
    assert_eq!(ended, vec![0; 40]);
    // 5 of the parent, 5 of each child.
    assert_eq!(recorded.count("spans_started"), 205);
    assert_eq!(recorded.count("spans_ended"), 205);
}

/// No kernel makes a child crash at the sites of earlier packages: either it does not make calls of them,
/// or they have no probes and the agent says why.
#[test]
fn forked_children_with_an_earlier_package() {
    with_newest(|python| {
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("older_hook.so");
        compile("older_hook.c", &library, &["-shared", "-fPIC"]);
        let (recorded, probed, ended) = fork(python, &[library.to_str().unwrap()]);
        assert_eq!(ended, vec![0; 40]);
        let refused = recorded.ended.stderr.contains("upgrade the Python package");
        assert_ne!(probed, refused, "{}", recorded.ended.stderr);
        assert_eq!(recorded.count("span_probes_failed") > 0, refused);
        assert!(probed || makes_calls_of_nops());
    });
}

/// Whether this kernel may be one that makes calls of 5-byte nops: from Linux 6.18 on.
fn makes_calls_of_nops() -> bool {
    kernel_version() >= (6, 18)
}

fn kernel_version() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(['.', '-']).map_while(|it| it.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

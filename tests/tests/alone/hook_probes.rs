//! The hook's probes are on while they are needed, and what they tell is known without them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tests::{
    on_every_python,
    profile::Profile,
    python::{Python, Workload, with_newest},
    spanprof::{Recorded, Recording},
};

on_every_python!(readable_context);

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
        assert_eq!(row.label("span_id"), roots[active], "{row:#?}");
        assert_eq!(row.label("span_name"), "request", "{row:#?}");
        assert_eq!(row.label("active_span_name"), "child", "{row:#?}");
        seen.insert(active.to_owned());
        right += samples;
    }
    assert!(right * 100 >= all * 95, "{right} of {all}");
    assert!(seen.len() > 60, "{} requests seen", seen.len());
    assert_eq!(
        profile
            .by_label("service_name")
            .into_keys()
            .collect::<Vec<_>>(),
        ["odd"]
    );
}

/// Where the context can be read no probe is on: local roots, names and the service are read from
/// what the hook leaves in the process.
fn readable_context(python: &Python) {
    let (recorded, facts) = record(python, &[], &[]);
    assert_eq!(facts["probed"], false);
    roots_are_right(&recorded.profile, &facts);
    assert_eq!(recorded.count("spans_started"), 0);
}

/// Where it cannot, they are.
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

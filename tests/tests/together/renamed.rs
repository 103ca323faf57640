//! Spans that are renamed: each id has one name in a profile, the last one.

use std::collections::{BTreeMap, BTreeSet};

use tests::{
    python::{Workload, with_newest},
    spanprof::Recording,
};

/// With the package and without, and also if its probes have reported the first name.
#[test]
fn last_name_that_was_seen() {
    with_newest(|python| {
        for (without_package, probes) in [(true, "auto"), (false, "auto"), (false, "always")] {
            let mut command = python.program("renamed.py", &[]);
            if without_package {
                command.env("WITHOUT_PACKAGE", "1");
            }
            let mut workload = Workload::start(&mut command);
            let pid = workload.pid();
            let flags = ["--frequency", "499", "--span-probes", probes, "--pid", &pid];
            let recording = Recording::start(&flags);
            workload.begin();
            workload.facts("done");
            let recorded = recording.stop();
            let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for row in &recorded.profile.rows {
                for (id, name) in [
                    ("span_id", "span_name"),
                    ("active_span_id", "active_span_name"),
                ] {
                    let id = row.label(id).to_owned();
                    if !id.is_empty() {
                        let name = row.label(name).to_owned();
                        names.entry(id).or_default().insert(name);
                    }
                }
            }
            let case = format!("without package: {without_package}, probes: {probes}");
            assert!(
                names.values().all(|names| names.len() == 1),
                "{case}: {names:#?}"
            );
            let all: BTreeSet<&String> = names.values().flatten().collect();
            // The first request may be over before the class of spans is known.
            for number in 1..4 {
                let name = format!("GET /items/{number}");
                assert!(all.contains(&name), "{case}: {names:#?}");
            }
            let found = recorded.count("spans_found");
            assert!(found <= 12, "{case}: {found}");
        }
    });
}

//! The page, the alerts and the dashboard name only metrics that exist.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use profiler::telemetry::page;
use serde_json::Value;

fn read(path: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(path).unwrap()
}

/// Words that begin like the names of our metrics.
fn metrics_in(text: &str) -> BTreeSet<&str> {
    text.split(|it: char| !it.is_ascii_alphanumeric() && it != '_')
        .filter(|word| word.starts_with("spanprof_") || word.starts_with("process_"))
        .collect()
}

fn assert_exist(found: &BTreeSet<&str>, at_least: usize, whose: &str) {
    let names = page::names();
    let unknown: Vec<_> = found
        .iter()
        .filter(|found| !names.iter().any(|name| name == *found))
        .collect();
    assert!(unknown.is_empty(), "{whose} names {unknown:?}");
    assert!(found.len() >= at_least, "{whose}: {found:?}");
}

/// The page is generated from the table of metrics.
#[test]
fn page_is_current() {
    let page = read("docs/metrics.md");
    assert!(
        page == page::page(&page),
        "docs/metrics.md is not current: run `cargo run -p profiler --example metrics_page`"
    );
    for name in page::names() {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}

/// Alerts, and their tests, name metrics that exist.
#[test]
fn alerts() {
    for file in ["spanprof.rules.yaml", "spanprof.rules.test.yaml"] {
        let text = read(&format!("deploy/prometheus/{file}"));
        let text: Vec<_> = text
            .lines()
            .filter(|line| !line.contains("summary"))
            .collect();
        assert_exist(&metrics_in(&text.join("\n")), 8, file);
    }
}

/// Every query of the dashboard names metrics that exist; each panel has one.
#[test]
fn dashboard() {
    let dashboard: Value =
        serde_json::from_str(&read("deploy/grafana/spanprof-agents.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut found = BTreeSet::new();
    for panel in panels {
        let targets = panel["targets"].as_array().unwrap();
        for target in targets {
            let metrics = metrics_in(target["expr"].as_str().unwrap());
            assert!(!metrics.is_empty(), "{target}");
            found.extend(metrics);
        }
        assert!(!targets.is_empty(), "{panel}");
    }
    assert_exist(&found, 20, "the dashboard");
}

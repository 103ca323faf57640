//! Nested spans: the CPU time of each is what the application measured.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests panic like tests, and tell what was measured"
)]

use std::collections::BTreeMap;

use tests::{on_every_python, python::Python, spanprof::Recording};

on_every_python!(self_times_are_those_measured);

/// CPU time the application spends in its spans.
const SECONDS: &str = "10";
/// Five times the default: the least span then has more than 800 samples, and chance alone stays
/// well within the 5 % that are allowed.
const FREQUENCY: &str = "499";

/// Root and child spans over 10 s of CPU, in both label modes: each span's time is within 5 % of
/// `time.thread_time()`.
fn self_times_are_those_measured(python: &Python) {
    let mut workload = python.start("nested.py", &[SECONDS]);
    let pid = workload.pid();
    let start = |mode| {
        let mode = ["--span-label", mode];
        Recording::start(&[&["--frequency", FREQUENCY, "--pid", &pid][..], &mode].concat())
    };
    // Two at a time: both modes see the very same spans.
    let (active, local_root) = (start("active"), start("local-root"));
    workload.begin();
    let facts = workload.facts("cpu");
    let (active, local_root) = (active.stop().profile, local_root.stop().profile);
    let measured: BTreeMap<&str, f64> = facts["cpu"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, seconds)| (name.as_str(), seconds.as_f64().unwrap()))
        .collect();
    let in_spans = ["root", "child", "grandchild", "second child"];
    let recorded = active.by_label("span_name");
    for name in in_spans {
        compare(name, recorded[name], measured[name]);
    }
    assert_eq!(recorded.len(), in_spans.len() + 1, "{recorded:?}");
    let recorded = local_root.by_label("span_name");
    let all = in_spans.iter().map(|&name| measured[name]).sum();
    compare("root", recorded["root"], all);
    assert_eq!(recorded.len(), 2, "{recorded:?}");
    // The file names the active span in either mode.
    let recorded = local_root.by_label("active_span_name");
    for name in in_spans {
        compare(name, recorded[name], measured[name]);
    }
}

fn compare(name: &str, nanoseconds: i64, seconds: f64) {
    #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
    let recorded = nanoseconds as f64 / 1e9;
    let difference = (recorded - seconds).abs() / seconds;
    eprintln!("{name}: {recorded:.3} s recorded, {seconds:.3} s measured");
    assert!(
        difference < 0.05,
        "{name}: {recorded} s recorded, {seconds} s measured"
    );
}

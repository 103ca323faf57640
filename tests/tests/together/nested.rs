//! Nested spans: the CPU time of each is what the application measured.

use std::{borrow::Borrow, collections::BTreeMap};

use tests::{on_every_python, python::Python, sampling::at_least, spanprof::Recording};

on_every_python!(self_times_are_those_measured);

/// CPU time the application spends in its spans.
const SECONDS: &str = "10";
/// Thirty times the default: the least span then has some 4 800 samples. Their number deviates by 1.4 % if the machine
/// is so busy that chance alone decides which moments are sampled, and by less if not; 5 % are allowed.
const FREQUENCY: f64 = 2999.0;

/// Root and child spans over 10 s of CPU, in both label modes: each span's share of the time is within 5 % of
/// its share of what `time.thread_time()` says.
///
/// Shares, because a virtual machine that is not run for a while takes no samples, while its clocks go on.
fn self_times_are_those_measured(python: &Python) {
    let mut workload = python.start("nested.py", &[SECONDS]);
    let pid = workload.pid();
    let frequency = FREQUENCY.to_string();
    let start = |mode| {
        let mode = ["--span-label", mode];
        Recording::start(&[&["--frequency", &frequency, "--pid", &pid][..], &mode].concat())
    };
    // Two at a time: both modes see the very same spans.
    let (active, local_root) = (start("active"), start("local-root"));
    workload.begin();
    let facts = workload.facts("cpu");
    let (active, local_root) = (active.stop(), local_root.stop());
    let stolen = active.stolen.max(local_root.stolen);
    let (active, local_root) = (active.profile, local_root.profile);
    let measured: BTreeMap<&str, f64> = facts["cpu"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, seconds)| (name.as_str(), seconds.as_f64().unwrap()))
        .collect();
    let in_spans = ["root", "child", "grandchild", "second child"];
    let recorded = active.by_label("span_name");
    let all: f64 = measured.values().sum();
    let least = at_least(all, FREQUENCY, stolen) / FREQUENCY;
    for profile in [&active, &local_root] {
        let recorded = profile.seconds_of(|_| true);
        let is_right = (least..1.05 * all).contains(&recorded);
        assert!(is_right, "{recorded} of {all} s, {stolen} s stolen");
    }
    let share = |name: &str| measured[name] / all;
    for name in in_spans {
        compare(name, &recorded, share(name));
    }
    assert_eq!(recorded.len(), in_spans.len() + 1, "{recorded:?}");
    let recorded = local_root.by_label("span_name");
    compare(
        "root",
        &recorded,
        in_spans.iter().map(|&name| share(name)).sum(),
    );
    assert_eq!(recorded.len(), 2, "{recorded:?}");
    // The file names the active span in either mode.
    let recorded = local_root.by_label("active_span_name");
    for name in in_spans {
        compare(name, &recorded, share(name));
    }
}

fn compare<T: Borrow<str> + Ord>(name: &str, recorded: &BTreeMap<T, i64>, expected: f64) {
    #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
    let of = |nanoseconds: i64| nanoseconds as f64 / 1e9;
    let all = of(recorded.values().sum());
    let share = of(recorded[name]) / all;
    eprintln!("{name}: {share:.4} recorded, {expected:.4} measured; {all:.3} s recorded");
    assert!(
        (share / expected - 1.0).abs() < 0.05,
        "{name}: {share} for {expected}"
    );
}

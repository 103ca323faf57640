//! What was found, for people.

use std::fmt::Write as _;

use super::{
    Found,
    host::{State, host_works},
};
use crate::{
    profile::Coverage,
    targets::{
        Report,
        python::{detect::OffsetsSource, flavour::Flavour},
    },
};

/// All of it.
pub(super) fn of(found: &Found) -> String {
    let Found {
        works,
        checks,
        reports,
        refused,
        coverage,
    } = found;
    let coverage = coverage.as_ref();
    let mut text = String::new();
    // Writing to a string cannot fail.
    for check in checks {
        let mark = match check.state {
            State::Good => "ok",
            State::Less => "--",
            State::Bad => "NO",
        };
        let remedy = check.remedy.iter().map(|it| format!("; {it}"));
        let says = [check.says.clone()].into_iter().chain(remedy);
        let says = says.collect::<String>();
        let _ = writeln!(text, "{mark}  {:<22} {says}", check.name);
    }
    text.push('\n');
    if reports.is_empty() {
        text.push_str(
            "no CPython process was found (as an ordinary user only your own are seen)\n",
        );
    } else {
        text.push_str(&process_table(reports, coverage));
    }
    for report in reports {
        if let Some(reason) = &report.no_context {
            let _ = writeln!(
                text,
                "process {}: its current span is not read from its context: {reason}",
                report.pid
            );
        }
    }
    for report in reports {
        if let Some(reason) = report.no_thread_states {
            let _ = writeln!(
                text,
                "process {}: its samples have native frames only: {reason}",
                report.pid
            );
        }
        let (count, reasons) = &report.other_interpreters;
        for reason in reasons {
            let _ = writeln!(
                text,
                "process {}: the current span is not read in some of its {count} other interpreters: {reason}",
                report.pid
            );
        }
    }
    for report in reports.iter().filter(|it| it.pyroscope_sdk == "running") {
        let _ = writeln!(
            text,
            "process {}: pyroscope-io runs in it, too: under the service_name {} a Pyroscope would add up both \
             (docs/grafana.md)",
            report.pid, report.service.name
        );
    }
    for (pid, refusal) in refused {
        let _ = writeln!(text, "process {pid} cannot be profiled: {refusal}");
    }
    let has_all = checks.iter().all(|check| check.state == State::Good);
    text.push_str(match (*works, host_works(checks)) {
        (true, _) if has_all => "\nprofiling works here\n",
        (true, _) => {
            "\nprofiling works here, with less than it could have: see the lines marked --\n"
        }
        (false, true) => "\nprofiling works here, but not of every process asked for\n",
        (false, false) => "\nprofiling would NOT work here: see the lines marked NO\n",
    });
    text
}

fn process_table(reports: &[Report], coverage: Option<&Coverage>) -> String {
    let in_spans = |report: &Report| match coverage.map(|it| it.process(report.pid)) {
        None => "?".to_owned(),
        Some(None) => "idle".to_owned(),
        Some(Some(tally)) => format!("{} of {}", tally.share_in_spans(), tally.samples()),
    };
    let header = [
        "PID",
        "PYTHON",
        "SUPPORTED",
        "HOOK",
        "SPANS",
        "SAMPLES IN SPANS",
        "SERVICE",
        "BUILD",
        "FILE",
    ];
    let mut rows = vec![header.map(str::to_owned)];
    rows.extend(reports.iter().map(|report| {
        [
            report.pid.to_string(),
            python(report),
            supported(report),
            report.hook.clone(),
            report.span_source.to_owned(),
            in_spans(report),
            report.service.name.clone(),
            build(report),
            report.path.clone(),
        ]
    }));
    let widths: [usize; 9] = std::array::from_fn(|column| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    });
    let mut text = String::new();
    for row in &rows {
        let line: Vec<String> = row
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let _ = writeln!(text, "{}", line.join("  ").trim_end());
    }
    text
}

/// A version as it is written.
pub(super) fn version((major, minor, micro): (u8, u8, u8)) -> String {
    format!("{major}.{minor}.{micro}")
}

/// Version and flavour.
fn python(report: &Report) -> String {
    let version = report.version.map_or_else(|| "?".to_owned(), version);
    match report.flavour {
        Some(flavour) if flavour != Flavour::default() => format!("{version} {flavour}"),
        _ => version,
    }
}

/// How it was built, and how its offsets are known.
fn build(report: &Report) -> String {
    match report.offsets {
        Some(offsets) => format!("{}, offsets by {}", report.build, offsets.name()),
        None => report.build.clone(),
    }
}

fn supported(report: &Report) -> String {
    match (&report.unsupported, report.offsets) {
        (Some(reason), _) => reason.clone(),
        (None, Some(OffsetsSource::Unverified)) => "yes, unverified".to_owned(),
        (None, _) => "yes".to_owned(),
    }
}

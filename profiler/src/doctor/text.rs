//! What was found, for people.

use super::{
    Found, Sampled,
    host::{Check, State, host_works},
};
use crate::{
    profile::{Coverage, Tally, columns, pad, printable},
    targets::{
        Report,
        python::{detect::OffsetsSource, flavour::Flavour},
    },
};

/// All of it.
pub(super) fn of(found: &Found) -> String {
    let mut text = String::new();
    for check in &found.checks {
        line(&mut text, &of_check(check));
    }
    text.push('\n');
    if found.reports.is_empty() {
        line(
            &mut text,
            "no CPython process was found (as an ordinary user only your own are seen)",
        );
    } else {
        let coverage = found.sampled.as_ref().map(|it| &it.coverage);
        text.push_str(&process_table(&found.reports, coverage));
    }
    let reports = found.reports.iter();
    let context = reports.clone().filter_map(lacks_context);
    let other = reports.clone().flat_map(lacks_frames_or_interpreters);
    let twice = reports.filter_map(is_profiled_twice);
    let unread = found.sampled.iter().flat_map(lacks_classes);
    for note in context.chain(other).chain(unread).chain(twice) {
        line(&mut text, &note);
    }
    for (pid, refusal) in &found.refused {
        line(
            &mut text,
            &format!("process {pid} cannot be profiled: {refusal}"),
        );
    }
    text.push('\n');
    line(&mut text, verdict(found));
    text
}

fn line(text: &mut String, words: &str) {
    text.push_str(words);
    text.push('\n');
}

fn of_check(check: &Check) -> String {
    let mark = match check.state {
        State::Good => "ok",
        State::Less => "--",
        State::Bad => "NO",
    };
    let mut text = format!("{mark}  {:<22} {}", check.name, check.says);
    if let Some(remedy) = &check.remedy {
        text.push_str("; ");
        text.push_str(remedy);
    }
    text
}

fn lacks_context(report: &Report) -> Option<String> {
    let reason = report.no_context.as_ref()?;
    Some(format!(
        "process {}: its current span is not read from its context: {reason}",
        report.pid
    ))
}

fn lacks_classes(sampled: &Sampled) -> impl Iterator<Item = String> {
    let classes = sampled.unread.iter();
    let classes = classes.flat_map(|(pid, classes)| classes.iter().map(move |it| (pid, it)));
    classes.map(|(pid, class)| {
        format!(
            "process {pid}: spans of the class {class} cannot be read, and samples in them have none: \
             docs/right-span.md says what classes can be"
        )
    })
}

fn lacks_frames_or_interpreters(report: &Report) -> impl Iterator<Item = String> {
    let pid = report.pid;
    let frames = report
        .no_thread_states
        .map(|reason| format!("process {pid}: its samples have native frames only: {reason}"));
    let (count, reasons) = &report.other_interpreters;
    let interpreters = reasons.iter().map(move |reason| {
        format!(
            "process {pid}: the current span is not read in some of its {count} other interpreters: {reason}"
        )
    });
    frames.into_iter().chain(interpreters)
}

fn is_profiled_twice(report: &Report) -> Option<String> {
    (report.pyroscope_sdk == "running").then(|| {
        format!(
            "process {}: pyroscope-io runs in it, too: under the service_name {} a Pyroscope would add up both \
             (docs/grafana.md)",
            report.pid, report.service.name
        )
    })
}

/// Whether profiling works here.
fn verdict(found: &Found) -> &'static str {
    let has_all = found.checks.iter().all(|it| it.state == State::Good);
    match (found.works, host_works(&found.checks)) {
        (true, _) if has_all => "profiling works here",
        (true, _) => "profiling works here, with less than it could have: see the lines marked --",
        (false, true) => "profiling works here, but not of every process asked for",
        (false, false) => "profiling would NOT work here: see the lines marked NO",
    }
}

/// A table of processes, with columns as wide as their widest cells.
fn process_table(reports: &[Report], coverage: Option<&Coverage>) -> String {
    let rows = reports.iter().map(|report| row(report, coverage));
    let rows: Vec<_> = std::iter::once(HEADINGS.map(str::to_owned))
        .chain(rows)
        .map(|row| row.map(|cell| printable(&cell).into_owned()))
        .collect();
    let mut widths = [0; HEADINGS.len()];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = columns(cell).max(*width);
        }
    }
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(it, to)| pad(it, to)).collect();
        line(&mut text, cells.join("  ").trim_end());
    }
    text
}

const HEADINGS: [&str; 10] = [
    "PID",
    "PYTHON",
    "SUPPORTED",
    "HOOK",
    "SPANS",
    "SAMPLES IN SPANS",
    "SERVICE",
    "NAMED BY",
    "BUILD",
    "FILE",
];

/// What stands below the headings.
fn row(report: &Report, coverage: Option<&Coverage>) -> [String; HEADINGS.len()] {
    let in_spans = match coverage.map(|it| it.process(report.pid)) {
        None => "?".to_owned(),
        Some(None) => "idle".to_owned(),
        Some(Some(tally)) => in_spans_of(tally),
    };
    [
        report.pid.to_string(),
        python(report),
        supported(report),
        report.hook.clone(),
        report.span_source.to_owned(),
        in_spans,
        report.service.name.clone(),
        report.service_source.to_owned(),
        build(report),
        report.path.clone(),
    ]
}

/// The share in spans, over Python's threads, with what it lacks by its nature beside it.
fn in_spans_of(tally: &Tally) -> String {
    let mut text = format!("{} of {}", tally.share_in_spans(), tally.samples());
    let beside = [
        (tally.not_recorded, "in spans that are not recorded"),
        (tally.in_native_threads, "in native threads"),
    ];
    for (sum, what) in beside {
        if sum.samples > 0 {
            text = format!("{text}, {} {what}", sum.samples);
        }
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

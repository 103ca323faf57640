//! `spanprof doctor`: what works here, what does not, and how to mend it.

use std::{collections::BTreeSet, fmt::Write as _, process::ExitCode, thread};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::{
    cli::DoctorArguments,
    config::Sampling,
    health::Health,
    id::Pid,
    kernel::{self, ControlError, Support},
    output::out,
    profile::{Coverage, LabelSet},
    run::{self, Session, SessionSettings},
    targets::{
        self, Refusal, Report, Scope,
        python::{detect::OffsetsSource, flavour::Flavour},
    },
};

/// One line about the host.
struct Check {
    name: &'static str,
    good: bool,
    says: String,
}

/// Whether the host has all that is needed.
fn host_works(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.good)
}

/// Looks at the host and its Python processes. Succeeds only if profiling would work.
pub fn doctor(arguments: &DoctorArguments) -> Result<ExitCode> {
    let pids: BTreeSet<Pid> = arguments.pids.iter().copied().map(Pid).collect();
    let support = kernel::ask();
    let mut checks = host(&support);
    let coverage = sample(arguments, &mut checks);
    let mut reports = targets::survey(&pids);
    if support.calls_crash_children {
        for report in reports.iter_mut().filter(|it| it.hook_on_long_nops) {
            report.hook = format!("{}, but {}", report.hook, ControlError::CallsCrashChildren);
        }
    }
    reports.sort_by_key(|report| report.pid);
    let refused = refused(&pids);
    let missing = refused
        .iter()
        .find(|(_, refusal)| *refusal == Refusal::Missing);
    if let Some((pid, refusal)) = missing {
        bail!("process {pid}: {refusal}");
    }
    let works = host_works(&checks) && (pids.is_empty() || refused.is_empty());
    let text = if arguments.json {
        let json = as_json(works, &checks, &reports, &refused, coverage.as_ref());
        format!("{json:#}\n")
    } else {
        as_text(works, &checks, &reports, &refused, coverage.as_ref())
    };
    out(&text)?;
    Ok(if works {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Takes samples for a while, which also shows that the kernel takes the programs; `None` where that
/// was not asked for or is not permitted.
fn sample(arguments: &DoctorArguments, checks: &mut Vec<Check>) -> Option<Coverage> {
    if arguments.no_sample || !host_works(checks) {
        return None;
    }
    let taken = take_samples(arguments);
    checks.push(Check {
        name: "kernel programs",
        good: taken.is_ok(),
        says: match &taken {
            Ok(_) => "loaded, and taken off again".into(),
            Err(error) => format!("{error:#}"),
        },
    });
    taken.ok()
}

fn take_samples(arguments: &DoctorArguments) -> Result<Coverage> {
    let sampling = Sampling::from_arguments(&arguments.sampling);
    let armed = run::arm(&sampling)?;
    let scope = if arguments.pids.is_empty() {
        Scope::Host
    } else {
        Scope::Processes {
            pids: arguments.pids.iter().copied().map(Pid).collect(),
            follow: false,
        }
    };
    let settings = SessionSettings {
        scope,
        told_apart: BTreeSet::new(),
        profile: SessionSettings::profile(&sampling, LabelSet::File),
        windows: None,
        records: None,
    };
    let session = Session::start(armed, settings, &Health::default())?;
    thread::sleep(arguments.sample);
    Ok(session.stop().coverage)
}

/// What was asked for and cannot be profiled.
fn refused(pids: &BTreeSet<Pid>) -> Vec<(Pid, Refusal)> {
    pids.iter()
        .filter_map(|&pid| Some((pid, targets::inspect(pid).err()?)))
        .collect()
}

fn host(support: &Support) -> Vec<Check> {
    let Support {
        release,
        btf,
        missing_capabilities,
        calls_crash_children: _,
        perf_events,
    } = support;
    let check = |name, good, says: String| Check { name, good, says };
    vec![
        check("kernel", true, release.clone()),
        check(
            "BTF",
            *btf,
            if *btf {
                "yes".into()
            } else {
                "no: needs a kernel built with CONFIG_DEBUG_INFO_BTF=y".into()
            },
        ),
        check(
            "capabilities",
            missing_capabilities.is_empty(),
            if missing_capabilities.is_empty() {
                "all that is needed".into()
            } else {
                format!("missing {}: run as root", missing_capabilities.join(", "))
            },
        ),
        check(
            "perf events",
            perf_events.is_ok(),
            perf_events
                .clone()
                .map_or_else(|reason| reason, |()| "software CPU clock".into()),
        ),
    ]
}

fn as_json(
    works: bool,
    checks: &[Check],
    reports: &[Report],
    refused: &[(Pid, Refusal)],
    coverage: Option<&Coverage>,
) -> Value {
    let host: serde_json::Map<_, _> = checks
        .iter()
        .map(|check| {
            (
                check.name.to_owned(),
                json!({"ok": check.good, "says": check.says}),
            )
        })
        .collect();
    let processes: Vec<_> = reports
        .iter()
        .map(|report| process_json(report, coverage))
        .collect();
    let refused: Vec<_> = refused
        .iter()
        .map(|(pid, refusal)| json!({"pid": pid.0, "reason": refusal.to_string()}))
        .collect();
    json!({"works": works, "host": host, "processes": processes, "refused": refused})
}

fn process_json(report: &Report, coverage: Option<&Coverage>) -> Value {
    let tally = coverage.and_then(|it| it.process(report.pid));
    let samples = tally.map(|it| {
        json!({
            "taken": it.samples(),
            "in_spans": it.in_spans,
            "in_no_span": it.in_no_span,
            "unattributed": it.by_reason(),
        })
    });
    json!({
        "pid": report.pid.0,
        "version": report.version.map(version),
        "flavour": report.flavour.map(|it| it.to_string()),
        "offsets": report.offsets.map(OffsetsSource::name),
        "path": report.path,
        "build": report.build,
        "supported": report.unsupported.is_none(),
        "reason": report.unsupported,
        "hook": report.hook,
        "span_source": report.span_source,
        "context_not_read": report.no_context,
        "thread_states_not_known": report.no_thread_states,
        "other_interpreters": {
            "count": report.other_interpreters.0,
            "not_read": report.other_interpreters.1,
        },
        "pyroscope_sdk": report.pyroscope_sdk,
        "samples": samples,
        "service_name": report.service.name,
        "service_namespace": report.service.namespace,
    })
}

fn version((major, minor, micro): (u8, u8, u8)) -> String {
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

fn as_text(
    works: bool,
    checks: &[Check],
    reports: &[Report],
    refused: &[(Pid, Refusal)],
    coverage: Option<&Coverage>,
) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    for check in checks {
        let mark = if check.good { "ok" } else { "NO" };
        let _ = writeln!(text, "{mark}  {:<18} {}", check.name, check.says);
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
    text.push_str(if works {
        "\nprofiling works here\n"
    } else if host_works(checks) {
        "\nprofiling works here, but not of every process asked for\n"
    } else {
        "\nprofiling would NOT work here: see the lines marked NO\n"
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

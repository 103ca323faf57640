//! `spanprof doctor`: what works here, what does not, and how to fix it.

mod host;
mod json;
mod text;

use std::{
    collections::{BTreeMap, BTreeSet},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Result, bail};

use self::host::{Check, host_works};
use crate::{
    config::DoctorConfig,
    health::Health,
    id::Pid,
    kernel::{self, ControlError, NoRoute, Route},
    output::out,
    profile::Coverage,
    run::{self, Session, SessionSettings},
    targets::{self, Refusal, Report, Scope},
};

/// All that was found.
struct Found {
    /// Whether profiling would work, of every process that was asked for.
    works: bool,
    checks: Vec<Check>,
    reports: Vec<Report>,
    /// What was asked for and cannot be profiled.
    refused: Vec<(Pid, Refusal)>,
    /// What samples were taken, if any were.
    sampled: Option<Sampled>,
}

/// What samples have shown.
struct Sampled {
    coverage: Coverage,
    /// The names of classes of spans that were met and cannot be read, by process.
    unread: BTreeMap<Pid, Vec<String>>,
}

/// Looks at the host and its Python processes. Succeeds only if profiling would work.
pub fn doctor(config: &DoctorConfig) -> Result<ExitCode> {
    let pids = &config.pids;
    let support = kernel::ask();
    let mut checks = host::checks(&support);
    let sampled = sample(config, &mut checks);
    let mut reports = targets::survey(pids);
    if support.calls_crash_children {
        for report in reports.iter_mut().filter(|it| it.hook_on_long_nops) {
            report.hook = format!("{}, but {}", report.hook, ControlError::CallsCrashChildren);
        }
    }
    reports.sort_by_key(|report| report.pid);
    let refused = refused(pids);
    let missing = refused
        .iter()
        .find(|(_, refusal)| *refusal == Refusal::Missing);
    if let Some((pid, refusal)) = missing {
        bail!("process {pid}: {refusal}");
    }
    let works = host_works(&checks) && (pids.is_empty() || refused.is_empty());
    let found = Found {
        works,
        checks,
        reports,
        refused,
        sampled,
    };
    let text = if config.json {
        format!("{:#}\n", json::of(&found))
    } else {
        text::of(&found)
    };
    out(&text)?;
    Ok(if works {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Takes samples for a while, which also shows that the kernel takes the programs; `None` if that
/// was not asked for or is not permitted.
fn sample(config: &DoctorConfig, checks: &mut Vec<Check>) -> Option<Sampled> {
    let time = config.sample.filter(|_| host_works(checks))?;
    let mut route = None;
    let taken = take_samples(config, time, &mut route);
    checks.push(host::programs(&taken));
    checks.extend(route.as_ref().map(host::span_probes));
    taken.ok()
}

/// Also finds out how span probes are put on, once the programs are loaded.
fn take_samples(
    config: &DoctorConfig,
    time: Duration,
    route: &mut Option<Result<Route, NoRoute>>,
) -> Result<Sampled> {
    let mut armed = run::arm(&config.sampling)?;
    *route = Some(armed.control.find_probe_route());
    let scope = if config.pids.is_empty() {
        Scope::Host
    } else {
        Scope::Processes {
            pids: config.pids.iter().copied().collect(),
            follow: false,
        }
    };
    let settings = SessionSettings {
        scope,
        told_apart: BTreeSet::new(),
        profile: SessionSettings::profile(&config.sampling),
        windows: None,
        records: None,
    };
    let session = Session::start(armed, settings, &Health::default())?;
    thread::sleep(time);
    let targets = session.snapshot();
    let unread = targets.iter().map(|it| {
        let names = it.unread_spans.iter().filter_map(|it| it.name.clone());
        (it.process.pid, names.collect())
    });
    Ok(Sampled {
        unread: unread.collect(),
        coverage: session.stop().coverage,
    })
}

/// What was asked for and cannot be profiled.
fn refused(pids: &BTreeSet<Pid>) -> Vec<(Pid, Refusal)> {
    pids.iter()
        .filter_map(|&pid| Some((pid, targets::inspect(pid).err()?)))
        .collect()
}

//! Looking at processes without profiling them.

use std::collections::BTreeSet;

use super::{
    Report, Scope, Search, Targets, facilities, opentelemetry::looker::Looker, procfs,
    report::reports,
};
use crate::{health::Health, id::Pid, kernel::NoKernel};

/// Why a process cannot be profiled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is none.
    #[error("there is no such process")]
    Missing,
    /// It runs no CPython.
    #[error("it does not run CPython: no file it maps exports `_PyRuntime`")]
    NotPython,
    /// Its CPython is none we know.
    #[error("{0}")]
    Unsupported(String),
}

/// Looks at one process.
pub fn inspect(pid: Pid) -> Result<Report, Refusal> {
    if procfs::stat(pid).is_none() {
        return Err(Refusal::Missing);
    }
    let report = look(Scope::Processes {
        pids: vec![pid],
        follow: false,
    })
    .into_iter()
    .find(|report| report.pid == pid)
    .ok_or(Refusal::NotPython)?;
    match &report.unsupported {
        Some(reason) => Err(Refusal::Unsupported(reason.clone())),
        None => Ok(report),
    }
}

/// Looks at these processes, or at all of the host: a report for each that runs CPython.
pub fn survey(pids: &BTreeSet<Pid>) -> Vec<Report> {
    if pids.is_empty() {
        return look(Scope::Host);
    }
    look(Scope::Processes {
        pids: pids.iter().copied().collect(),
        follow: false,
    })
}

fn look(scope: Scope) -> Vec<Report> {
    let search = Search {
        scope,
        most: usize::MAX,
        has_mapping_notices: false,
    };
    let facilities = facilities::all(facilities::Settings::default());
    let mut targets = Targets::new(search, facilities, Box::new(NoKernel), Health::default());
    let mut looker = Looker::default();
    for request in targets.take_requests() {
        if let Some(answer) = looker.look(&request) {
            targets.answer(answer);
        }
    }
    reports(&targets)
}

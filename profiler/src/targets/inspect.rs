//! Looking at processes without profiling them.

use std::{
    collections::BTreeSet,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use super::{
    Report, Scope, Search, Targets, facilities,
    look::looks::{GivenUpLooks, Look, Looks},
    procfs,
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
    let (found, inbox) = channel();
    let tell = move |look| {
        // Nobody asks any more.
        let _ = found.send(look);
    };
    // The caller's own threads have the rights it takes: nothing is given up here.
    match Looks::start(|| {}, tell, Health::default()) {
        Ok(looks) => look_at_all(&mut targets, &looks, &inbox),
        Err(error) => tracing::warn!("cannot start a thread: {error}"),
    }
    reports(&targets)
}

/// Waits for each look as long as it may take.
fn look_at_all(targets: &mut Targets, looks: &Looks, inbox: &Receiver<Look>) {
    /// How often a look is watched over.
    const SUPERVISE: Duration = Duration::from_millis(20);
    let mut waiting = 0_usize;
    for request in targets.take_requests() {
        if looks.ask(request.clone()) {
            waiting += 1;
        } else {
            targets.given_up(&GivenUpLooks {
                never_begun: vec![request],
                ..GivenUpLooks::default()
            });
        }
    }
    while waiting > 0 {
        match inbox.recv_timeout(SUPERVISE) {
            Ok(Look::Found(seen)) => {
                targets.answer(seen);
                waiting -= 1;
            }
            Ok(Look::Nothing(_)) => waiting -= 1,
            // It was counted when it was given up.
            Ok(Look::Unblocked(_)) | Err(_) => {}
        }
        let given_up = looks.give_up();
        waiting = waiting.saturating_sub(given_up.blocked.len() + given_up.never_begun.len());
        targets.given_up(&given_up);
    }
}

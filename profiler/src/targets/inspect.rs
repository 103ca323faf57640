//! Looking at processes without profiling them.

use std::{
    collections::BTreeSet,
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use super::{
    Report, Scope, Search, Targets,
    errands::Errands,
    facilities,
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
    /// It is no process.
    #[error("{thread} is a thread of process {process}: give --pid {process}")]
    Thread {
        /// What was asked for.
        thread: Pid,
        /// Whose it is.
        process: Pid,
    },
    /// Its files cannot be read.
    #[error(
        "its files cannot be read within 0.5 s: one of them is on a file system (FUSE, NFS) that does not answer"
    )]
    Unreadable,
    /// It runs no CPython.
    #[error(
        "it does not run CPython: no file it maps has `_PyRuntime`, neither exported nor as a section"
    )]
    NotPython,
    /// It runs no CPython, and waits for others that do: a launcher, or the parent of a program that is one file.
    #[error("it does not run CPython, but processes that it has started do: give {}", flags(.0))]
    Parent(Vec<Pid>),
    /// Its CPython is none we know.
    #[error("{0}")]
    Unsupported(String),
}

/// Most processes that are named instead of one.
const MAX_NAMED: usize = 8;

/// What to give instead.
fn flags(pids: &[Pid]) -> String {
    let flags: Vec<String> = pids.iter().map(|pid| format!("--pid {pid}")).collect();
    flags.join(" ")
}

/// Looks at one process.
pub fn inspect(pid: Pid) -> Result<Report, Refusal> {
    if procfs::stat(pid).is_none() {
        return Err(Refusal::Missing);
    }
    // The procfs has a folder for each thread, though it does not list it.
    if let Some(process) = procfs::process_of(pid).filter(|&process| process != pid) {
        return Err(Refusal::Thread {
            thread: pid,
            process,
        });
    }
    let scope = Scope::Processes {
        pids: vec![pid],
        follow: false,
    };
    let Some(targets) = look(scope) else {
        return Err(Refusal::NotPython);
    };
    let report = reports(&targets)
        .into_iter()
        .find(|report| report.pid == pid)
        .ok_or_else(|| {
            if targets.is_unreadable(pid) {
                return Refusal::Unreadable;
            }
            no_python(pid)
        })?;
    match &report.unsupported {
        Some(reason) => Err(Refusal::Unsupported(reason.clone())),
        None => Ok(report),
    }
}

/// Why a process without CPython cannot be profiled: perhaps those that it has started can.
fn no_python(pid: Pid) -> Refusal {
    let descendants = procfs::descendants(pid);
    // Of no processes a survey would be one of the host.
    if descendants.is_empty() {
        return Refusal::NotPython;
    }
    let reports = survey(&descendants).into_iter();
    let profiled = reports.filter(|report| report.unsupported.is_none());
    let pids: Vec<Pid> = profiled.map(|it| it.pid).take(MAX_NAMED).collect();
    if pids.is_empty() {
        Refusal::NotPython
    } else {
        Refusal::Parent(pids)
    }
}

/// Looks at these processes, or at all of the host: a report for each that runs CPython.
pub fn survey(pids: &BTreeSet<Pid>) -> Vec<Report> {
    let scope = if pids.is_empty() {
        Scope::Host
    } else {
        Scope::Processes {
            pids: pids.iter().copied().collect(),
            follow: false,
        }
    };
    look(scope).as_ref().map_or_else(Vec::new, reports)
}

/// What is known of these processes; `None` if there can be no more threads.
fn look(scope: Scope) -> Option<Targets> {
    let search = Search {
        scope,
        most: usize::MAX,
        has_mapping_notices: false,
    };
    let facilities = facilities::all(facilities::Settings::default());
    let health = Health::default();
    // The caller's own threads have the rights it takes: nothing is given up here.
    let errands = Errands::start(|| {}, health.clone())
        .inspect_err(|error| tracing::warn!("cannot start a thread: {error}"))
        .ok()?;
    let mut targets = Targets::new(search, facilities, Box::new(NoKernel), health, errands);
    let (found, inbox) = channel();
    let tell = move |look| {
        // Nobody asks any more.
        let _ = found.send(look);
    };
    match Looks::start(|| {}, tell, Health::default()) {
        Ok(looks) => look_at_all(&mut targets, &looks, &inbox),
        Err(error) => tracing::warn!("cannot start a thread: {error}"),
    }
    Some(targets)
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

//! The table of processes: who is profiled, since when, and what the kernel was told.

mod examine;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use profiler_common::python::PythonLayout;

use super::{
    FileId, Snapshot, Target, elf::FileState, files::Files, labels, probe::Hook, procfs,
    python::detect::Facts, report::Report,
};
use crate::{
    events::{ProcessChange, ProcessNotice, Resource},
    health::{Health, Loss},
    id::{Pid, ProcessKey},
    kernel::Control,
    time::BootNanos,
};

/// Processes kept at once.
const MAX_PROCESSES: usize = 10_000;
/// When to look after an exec, in milliseconds: `libpython` is there only after the dynamic
/// loader, the hook only after the application has imported it.
const SCHEDULE: [u64; 8] = [5, 20, 60, 200, 500, 1000, 2000, 5000];
/// Mappings of one process are read anew at most this often, in nanoseconds.
const REFRESH: u64 = 500_000_000;
const MILLISECOND: u64 = 1_000_000;

/// Which processes are profiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every CPython of the host.
    Host,
    /// These, Python or not.
    Processes {
        /// Their pids.
        pids: Vec<Pid>,
        /// Whether what they start is profiled too.
        follow: bool,
    },
}

/// The control plane's state. Driven by one thread.
pub struct Targets {
    scope: Scope,
    control: Box<dyn Control>,
    health: Health,
    files: Files,
    layouts: Vec<PythonLayout>,
    attached: HashSet<FileState>,
    processes: HashMap<Pid, Known>,
}

/// One process in scope.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) target: Target,
    /// The facts of its interpreter's file.
    pub(super) facts: Option<Arc<Facts>>,
    /// Why its interpreter is not profiled.
    pub(super) unsupported: Option<String>,
    /// What its hook is: `None` while none was seen.
    pub(super) hook: Option<Hook>,
    runtime: u64,
    code_type: u64,
    layout: u32,
    seen: HashSet<FileId>,
    attempt: usize,
    since: BootNanos,
    due: Option<BootNanos>,
    refreshed: BootNanos,
    named_by_hook: bool,
}

impl Known {
    fn new(process: ProcessKey, now: BootNanos) -> Self {
        Self {
            target: Target {
                process,
                service: Arc::new(labels::service(process.pid)),
                mappings: Arc::from([]),
                interpreter: None,
            },
            facts: None,
            unsupported: None,
            hook: None,
            runtime: 0,
            code_type: 0,
            layout: 0,
            seen: HashSet::new(),
            attempt: 0,
            since: now,
            due: None,
            refreshed: BootNanos(0),
            named_by_hook: false,
        }
    }

    fn schedule(&mut self) {
        let delay = SCHEDULE.get(self.attempt).copied();
        self.due = delay.map(|it| BootNanos(self.since.0.saturating_add(it * MILLISECOND)));
        self.attempt += 1;
    }
}

impl Targets {
    /// An empty table: call [`Self::scan`] to fill it.
    pub fn new(scope: Scope, control: Box<dyn Control>, health: Health) -> Self {
        Self {
            scope,
            control,
            health,
            files: Files::default(),
            layouts: Vec::new(),
            attached: HashSet::new(),
            processes: HashMap::new(),
        }
    }

    /// Reads the procfs: adds what is new, looks again at what is known, drops what is gone.
    pub fn scan(&mut self) {
        let now = BootNanos::now();
        let stats: HashMap<Pid, procfs::Stat> = procfs::pids()
            .into_iter()
            .filter_map(|pid| Some((pid, procfs::stat(pid)?)))
            .collect();
        let gone: Vec<Pid> = self
            .processes
            .values()
            .map(|known| known.target.process)
            .filter(|it| stats.get(&it.pid).is_none_or(|stat| stat.process != *it))
            .map(|it| it.pid)
            .collect();
        for pid in gone {
            self.forget(pid);
        }
        for stat in stats.values() {
            if self.in_scope(stat.process.pid, &stats) {
                self.examine(stat.process, now);
            }
        }
    }

    /// Takes over what has happened to a process.
    pub fn notice(&mut self, notice: ProcessNotice) {
        match notice.what {
            ProcessChange::Exit => self.forget(notice.pid),
            ProcessChange::Fork { parent } => self.fork(notice.pid, parent),
            ProcessChange::Exec => self.exec(notice.pid, notice.time),
        }
    }

    /// Takes over the resource that a process has told.
    pub fn resource(&mut self, resource: &Resource) {
        if let Some(known) = self.processes.get_mut(&resource.pid) {
            let service = labels::with_resource(&known.target.service, resource);
            known.target.service = Arc::new(service);
            known.named_by_hook = true;
        }
    }

    /// Does what is due, and says when to call again.
    pub fn due(&mut self, now: BootNanos) -> Option<BootNanos> {
        let due: Vec<ProcessKey> = self
            .processes
            .values()
            .filter(|known| known.due.is_some_and(|due| due <= now))
            .map(|known| known.target.process)
            .collect();
        for process in due {
            if procfs::stat(process.pid).is_none_or(|stat| stat.process != process) {
                self.forget(process.pid);
                continue;
            }
            if let Some(known) = self.processes.get_mut(&process.pid) {
                known.schedule();
            }
            self.examine(process, now);
        }
        self.processes.values().filter_map(|known| known.due).min()
    }

    /// What is known now, for the data plane.
    pub fn snapshot(&self) -> Snapshot {
        let all = matches!(self.scope, Scope::Processes { .. });
        Snapshot::new(
            self.processes
                .values()
                .filter(|known| all || known.target.interpreter.is_some())
                .map(|known| Arc::new(known.target.clone())),
        )
    }

    /// Reads the mappings of a process anew, unless that was done just now.
    pub fn refresh_mappings(&mut self, pid: Pid) {
        let now = BootNanos::now();
        if let Some(known) = self.processes.get(&pid)
            && now.0.saturating_sub(known.refreshed.0) >= REFRESH
        {
            self.examine(known.target.process, now);
        }
    }

    /// What is known of one process, for people.
    pub fn report(&self, pid: Pid) -> Option<Report> {
        self.processes.get(&pid).and_then(Report::new)
    }

    /// What is known of every Python process, by pid.
    pub fn reports(&self) -> Vec<Report> {
        let mut reports: Vec<Report> = self.processes.values().filter_map(Report::new).collect();
        reports.sort_by_key(|report| report.pid);
        reports
    }

    fn in_scope(&self, pid: Pid, stats: &HashMap<Pid, procfs::Stat>) -> bool {
        let Scope::Processes { pids, follow } = &self.scope else {
            return true;
        };
        if self.processes.contains_key(&pid) || pids.contains(&pid) {
            return true;
        }
        // Ancestors, bounded: parents may form a cycle when pids are reused during the scan.
        let ancestors = std::iter::successors(stats.get(&pid), |stat| stats.get(&stat.parent));
        *follow && ancestors.take(64).any(|stat| pids.contains(&stat.parent))
    }

    /// The child is its parent's copy: nothing has to be looked at.
    fn fork(&mut self, pid: Pid, parent: Pid) {
        let followed = match &self.scope {
            Scope::Host => true,
            Scope::Processes { follow, .. } => *follow,
        };
        let Some(mut known) = self.processes.get(&parent).filter(|_| followed).cloned() else {
            return;
        };
        let Some(stat) = procfs::stat(pid) else {
            return self.forget(pid);
        };
        // The child may have replaced its program already: an exec notice then follows.
        known.target.process = stat.process;
        self.insert(pid, known);
        self.tell(pid);
    }

    fn exec(&mut self, pid: Pid, time: BootNanos) {
        let listed = match &self.scope {
            Scope::Host => true,
            Scope::Processes { pids, .. } => pids.contains(&pid),
        };
        if !listed && !self.processes.contains_key(&pid) {
            return;
        }
        let Some(stat) = procfs::stat(pid) else {
            return self.forget(pid);
        };
        let mut known = Known::new(stat.process, time);
        known.schedule();
        self.insert(pid, known);
        self.tell(pid);
    }

    fn insert(&mut self, pid: Pid, known: Known) {
        if self.processes.len() >= MAX_PROCESSES && !self.processes.contains_key(&pid) {
            self.health.count(Loss::ProcessTableFull);
            return;
        }
        self.processes.insert(pid, known);
    }

    fn forget(&mut self, pid: Pid) {
        self.processes.remove(&pid);
        if let Scope::Processes { pids, .. } = &mut self.scope {
            // The next process with this pid is not the one that was asked for.
            pids.retain(|it| *it != pid);
        }
        if let Err(error) = self.control.remove_process(pid) {
            tracing::debug!(%pid, %error, "cannot forget a process");
        }
    }
}

//! Finding processes: by the kernel's notices, and by reading the procfs for those that were missed.
//!
//! A process that executes a program, and a file that is mapped to be executed, are looked at when
//! they are new. Most are not: a file that holds neither an interpreter nor a hook is remembered, and
//! a process that maps nothing else is never looked at.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroUsize,
};

use lru::LruCache;

use super::{Known, Scope, Targets};
use crate::{
    events::{ProcessChange, ProcessNotice},
    id::{Pid, ProcessKey},
    targets::{FileId, facility::Why, procfs},
    time::{BootNanos, MILLISECOND, SECOND},
};

/// A mapping notice may arrive up to this long before the fork or exec notice it belongs to, as they use different
/// channels; and the pid may have been another process's a moment before.
const RECENT: u64 = 2 * SECOND;
/// Processes remembered for that.
const MAX_NOTICED: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
/// How often the procfs is read if the kernel reports mappings, and if it does not.
const SCAN_WITH_NOTICES: u64 = 30 * SECOND;
/// How often the mappings of every process are read although the kernel reports them: the cost grows with the number
/// of processes.
const SCAN_ALL: u64 = 10 * 60 * SECOND;
const SCAN_WITHOUT: u64 = 5 * SECOND;
/// The same after notices were lost: a process can make that happen all the time.
const SCAN_AFTER_LOSS: u64 = 2 * SECOND;
/// Files remembered that are of no interest. Every scan forgets them: one may be written anew.
const MAX_PLAIN: usize = 65_536;
/// Processes that have run are asked at most this often what they have imported meanwhile.
const IMPORTS_EVERY: u64 = SECOND;
/// And this much less often for each of them: so that many cost no more than few.
const IMPORTS_PER_PROCESS: u64 = 20 * MILLISECOND;

/// What is remembered for discovery.
#[derive(Debug)]
pub(super) struct Discovery {
    /// Whether the kernel reports mappings.
    has_notices: bool,
    /// Whether some were lost since the procfs was read.
    has_missed: bool,
    /// Files that hold neither an interpreter nor a hook.
    plain: HashSet<FileId>,
    /// When a process of this pid mapped something new.
    noticed: LruCache<Pid, BootNanos>,
    /// When the procfs was read last, and when with the mappings of all processes.
    scanned: BootNanos,
    scanned_all: BootNanos,
    /// When to ask for imports again.
    imports_due: BootNanos,
}

impl Discovery {
    /// Nothing is remembered yet; `has_notices`: the kernel reports mappings.
    pub(super) fn new(has_notices: bool) -> Self {
        Self {
            has_notices,
            has_missed: false,
            plain: HashSet::new(),
            noticed: LruCache::new(MAX_NOTICED),
            scanned: BootNanos(0),
            scanned_all: BootNanos(0),
            imports_due: BootNanos(0),
        }
    }

    /// Whether a process of this pid mapped something new just now.
    fn was_noticed(&self, pid: Pid, now: BootNanos) -> bool {
        let at = self.noticed.peek(&pid);
        at.is_some_and(|at| at.0.saturating_add(RECENT) > now.0)
    }

    /// Remembers a file that is of no interest.
    pub(super) fn remember_plain(&mut self, file: FileId) {
        if self.plain.len() >= MAX_PLAIN {
            self.plain.clear();
        }
        self.plain.insert(file);
    }
}

impl Scope {
    /// Whether the children of what is profiled are profiled.
    pub(super) fn follows_children(&self) -> bool {
        match self {
            Self::Host => true,
            Self::Processes { follow, .. } => *follow,
        }
    }
}

impl Targets {
    /// Something may have been missed: the procfs is to be read sooner.
    pub fn note_loss(&mut self) {
        self.discovery.has_missed = true;
    }

    /// When the procfs is to be read again.
    pub fn scan_due(&self) -> BootNanos {
        let every = match &self.discovery {
            it if it.has_missed => SCAN_AFTER_LOSS,
            it if it.has_notices => SCAN_WITH_NOTICES,
            _ => SCAN_WITHOUT,
        };
        BootNanos(self.discovery.scanned.0.saturating_add(every))
    }

    /// Reads the procfs: adds what is new, looks again at what is known, drops what is gone.
    pub fn scan(&mut self) {
        let now = BootNanos::now();
        self.discovery.scanned = now;
        // The kernel reports every new mapping: then known processes need no other look.
        let mut is_told = self.discovery.has_notices && !self.discovery.has_missed;
        self.discovery.has_missed = false;
        if now.0 >= self.discovery.scanned_all.0.saturating_add(SCAN_ALL) {
            is_told = false;
        }
        if !is_told {
            self.discovery.scanned_all = now;
        }
        self.discovery.plain.clear();
        let stats: HashMap<Pid, procfs::Stat> = procfs::pids()
            .into_iter()
            .filter_map(|pid| Some((pid, procfs::stat(pid)?)))
            .collect();
        let gone: Vec<Pid> = self
            .processes
            .values()
            .map(Known::process)
            .filter(|it| stats.get(&it.pid).is_none_or(|stat| stat.process != *it))
            .map(|it| it.pid)
            .collect();
        for pid in gone {
            self.forget(pid);
        }
        for stat in stats.values() {
            let known = self.processes.get(&stat.process.pid);
            let is_known =
                known.is_some_and(|known| known.process() == stat.process && known.looked());
            if !(is_told && is_known) && self.in_scope(stat.process.pid, &stats) {
                self.examine(stat.process, now);
            }
        }
    }

    /// Takes over what has happened to a process.
    pub fn notice(&mut self, notice: ProcessNotice) {
        match notice.what {
            ProcessChange::Exit => self.forget(notice.pid),
            ProcessChange::Fork { parent, start_time } => {
                let pid = notice.pid;
                self.fork(ProcessKey { pid, start_time }, parent);
            }
            ProcessChange::Exec => self.exec(notice.pid, notice.time),
        }
    }

    /// Takes over that a process has mapped a file to execute it.
    pub fn mapped(&mut self, pid: Pid, file: FileId) {
        // A profiled process needs all its mappings for its native frames, whatever they hold.
        let whole_host = self.facilities.whole_host;
        let is_profiled = |known: &Known| !whole_host || known.is_profiled();
        let known = self.processes.get(&pid);
        if self.discovery.plain.contains(&file) && !known.is_some_and(is_profiled) {
            return;
        }
        let now = BootNanos::now();
        self.discovery.noticed.put(pid, now);
        if let Some(known) = self.processes.get_mut(&pid) {
            known.due.soon(now);
            return;
        }
        if self.scope != Scope::Host {
            return;
        }
        // The notice of its exec comes on another channel, and perhaps only later.
        if let Some(stat) = procfs::stat(pid) {
            let mut known = Known::new(stat.process);
            known.due.soon(now);
            self.insert(pid, known, true);
        }
    }

    /// Asks every interpreter that has run what it has imported since it was asked last, when it is time.
    pub(super) fn look_for_imports(&mut self, now: BootNanos) {
        if now < self.discovery.imports_due {
            return;
        }
        let facilities = &self.facilities;
        let profiled = self.processes.values_mut().filter(|it| it.is_profiled());
        let asked: Vec<Pid> = profiled
            .filter_map(|known| {
                let lacks_something = facilities.lack(known);
                let is_asked = known.looks.may_have_imported(lacks_something, now);
                is_asked.then(|| known.pid())
            })
            .collect();
        let count = u64::try_from(asked.len()).unwrap_or(u64::MAX);
        let pause = IMPORTS_EVERY.max(count.saturating_mul(IMPORTS_PER_PROCESS));
        self.discovery.imports_due = BootNanos(now.0.saturating_add(pause));
        for pid in asked {
            self.ask(pid, Why::Imports);
        }
    }

    /// When that is, if there is a process to ask.
    pub(super) fn imports_due(&self) -> Option<BootNanos> {
        (self.profiled > 0).then_some(self.discovery.imports_due)
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
    fn fork(&mut self, process: ProcessKey, parent: Pid) {
        let pid = process.pid;
        let followed = self.scope.follows_children();
        let Some(mut known) = self.processes.get(&parent).filter(|_| followed).cloned() else {
            return;
        };
        // One that is gone by now the data plane has made a target of for itself.
        let Some(stat) = procfs::stat(pid).filter(|it| it.process == process) else {
            return self.forget(pid);
        };
        // The child may have replaced its program already: an exec notice then follows, and what it has
        // mapped may have been reported first.
        known.parent = Some(known.process());
        known.change().process = stat.process;
        let now = BootNanos::now();
        // Files of its parent that are on their way are its parent's alone.
        let is_read = |targets: &Self| {
            let parent = targets.processes.get(&parent).map(Known::process);
            !parent.is_some_and(|parent| targets.facilities.errands.has(parent))
        };
        if self.discovery.was_noticed(pid, now) || !is_read(self) {
            known.due.soon(now);
        }
        let why = self.facilities.forked(&mut known);
        self.insert(pid, known, true);
        // The kernel program has copied what it knew of the parent.
        self.tell(pid);
        if let Some(why) = why {
            self.ask(pid, why);
        }
    }

    /// What a process was is over: it runs another program.
    fn exec(&mut self, pid: Pid, now: BootNanos) {
        let listed = match &self.scope {
            Scope::Host => true,
            Scope::Processes { pids, .. } => pids.contains(&pid),
        };
        let before = self.processes.get(&pid);
        if !listed && before.is_none() {
            return;
        }
        let Some(stat) = procfs::stat(pid) else {
            return self.forget(pid);
        };
        self.facilities.errands.forget(stat.process);
        let mut known = Known::new(stat.process);
        if !self.discovery.has_notices {
            known.due.by_schedule(now);
        } else if self.scope != Scope::Host
            || self.discovery.was_noticed(pid, now)
            || procfs::executable(pid).is_none_or(|file| !self.discovery.plain.contains(&file))
        {
            // What it has mapped so far may have been reported already.
            known.due.soon(now);
        }
        self.tell_gone(pid);
        self.insert(pid, known, true);
        self.tell(pid);
    }
}

//! The table of processes: which there are, when to look at them, and what was told of them.
//!
//! What is learnt of a process is for the facilities ([`super::facility`]) alone.

mod blocked;
mod discover;
mod due;
mod errands;
mod examine;
mod facilities;
mod files;
mod kin;
mod known;
mod looks;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

pub use self::known::Known;
use self::{facilities::Facilities, files::Files};
use super::{
    Snapshot,
    errands::Errands,
    facility::{Facility, Next, Processes, Why, Word},
    look::{Request, Seen},
};
use crate::{
    health::{Health, Loss},
    id::{Pid, ProcessKey},
    kernel::{Control, ControlError},
    time::{BootNanos, MILLISECOND},
};

/// Processes kept at once that are not profiled.
const MAX_OTHERS: usize = 65_536;
/// Files looked at in one process.
const MAX_FILES: usize = 4096;
/// How long the start waits for files of processes, if some block.
const FIRST_ERRANDS: Duration = Duration::from_millis(2_500);
/// Mappings of one process are read anew at most this often, in nanoseconds.
const REFRESH: u64 = 500 * MILLISECOND;

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

/// Which processes are looked for, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// Which are profiled.
    pub scope: Scope,
    /// How many at most.
    pub most: usize,
    /// Whether [`Targets::mapped`] is called for every file that is mapped to be executed.
    pub has_mapping_notices: bool,
}

/// The control plane's state. Driven by one thread.
pub struct Targets {
    scope: Scope,
    facilities: Facilities,
    files: Files,
    processes: Processes,
    requests: Vec<Request>,
    /// Processes that block a worker.
    blocked: HashSet<ProcessKey>,
    discovery: discover::Discovery,
    /// Processes that may be profiled, and that are.
    most_profiled: usize,
    profiled: usize,
    /// What the data plane is to know.
    snapshot: Snapshot,
    /// Whether that has changed since it was last published.
    has_changed: bool,
}

impl Targets {
    /// The processes that are there now. Waits a while for those whose files are not read at once.
    pub fn new(
        search: Search,
        facilities: Vec<Box<dyn Facility>>,
        control: Box<dyn Control>,
        health: Health,
        errands: Errands,
    ) -> Self {
        let whole_host = search.scope == Scope::Host;
        let facilities = Facilities::new(facilities, control, health, whole_host, errands);
        let snapshot = Snapshot::new(search.scope.follows_children());
        let mut targets = Self {
            scope: search.scope,
            files: Files::new(facilities.recognise()),
            facilities,
            processes: HashMap::new(),
            requests: Vec::new(),
            blocked: HashSet::new(),
            discovery: discover::Discovery::new(search.has_mapping_notices),
            most_profiled: search.most,
            profiled: 0,
            snapshot,
            has_changed: true,
        };
        targets.scan();
        targets.take_all_news(FIRST_ERRANDS);
        targets
    }

    /// Starts the sampling clock.
    pub fn start_sampling(&mut self) -> Result<(), ControlError> {
        self.facilities.control.start_sampling()
    }

    /// Takes over what the data plane says of a process.
    pub fn hear(&mut self, pid: Pid, word: &Word<'_>) {
        let why = self.change(pid, |facilities, known| facilities.hear(known, word));
        if let Some(why) = why.flatten() {
            self.ask(pid, why);
        }
        self.tell(pid);
    }

    /// Notes that samples were taken of processes: only one that runs can import anything.
    pub fn sampled(&mut self, pids: impl IntoIterator<Item = Pid>) {
        for pid in pids {
            self.change(pid, |facilities, known| {
                known.looks.has_run();
                facilities.hear(known, &Word::HasRun);
            });
        }
    }

    /// Does what is due, and says when to call again.
    pub fn due(&mut self, now: BootNanos) -> Option<BootNanos> {
        self.take_news();
        self.examine_due(now);
        let is_due = |known: &mut Known| known.looks.take_due(now).then(|| known.pid());
        let looks: Vec<Pid> = self.processes.values_mut().filter_map(is_due).collect();
        for pid in looks {
            self.ask(pid, Why::NotYet);
        }
        self.look_for_imports(now);
        let facilities = self.facilities.due(&mut self.processes, now);
        for pid in self.facilities.take_untold() {
            self.tell(pid);
        }
        let dues = self.processes.values().filter_map(Known::next_look);
        dues.chain(self.imports_due()).chain(facilities).min()
    }

    /// Does what is due, and waits a while for the workers that it sends out: at the start, what is known is acted
    /// upon before anybody is told that the agent runs.
    pub fn due_first(&mut self) {
        self.due(BootNanos::now());
        self.take_all_news(FIRST_ERRANDS);
        self.due(BootNanos::now());
    }

    /// Whether a worker is on its way whose result is to come soon.
    pub fn expects_news(&self) -> bool {
        self.facilities.errands.are_on_their_way()
    }

    /// What is known now, if that has changed since this was last called.
    pub fn changes(&mut self) -> Option<Snapshot> {
        std::mem::take(&mut self.has_changed).then(|| self.snapshot.clone())
    }

    /// What is known now, for the data plane.
    pub fn snapshot(&self) -> Snapshot {
        self.snapshot.clone()
    }

    /// Every process that is known.
    pub fn known(&self) -> impl Iterator<Item = &Known> {
        self.processes.values()
    }

    /// Reads the mappings of a process anew, unless that was done just now.
    pub fn refresh_mappings(&mut self, pid: Pid) {
        let now = BootNanos::now();
        if let Some(known) = self.processes.get(&pid)
            && now.0.saturating_sub(known.refreshed.0) >= REFRESH
        {
            self.examine(known.process(), now);
        }
    }

    /// Looks that a worker must make, because a hostile process could make them block.
    pub fn take_requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.requests)
    }

    /// Takes over what a look has found.
    pub fn answer(&mut self, mut seen: Seen) {
        let pid = seen.process.pid;
        let known = self.processes.get(&pid);
        let is_of =
            |known: &Known| known.process() == seen.process && *known.program() == seen.program;
        if !known.is_some_and(is_of) {
            return;
        }
        let next = self.change(pid, |facilities, known| {
            known.looks.took(seen.took, BootNanos::now());
            facilities.learn(known, &mut seen)
        });
        self.plan(pid, next.unwrap_or(Next::Unchanged));
        self.tell(pid);
        self.hand_on(pid);
    }

    /// Plans when to look at a process again.
    fn plan(&mut self, pid: Pid, next: Next) {
        if let Some(known) = self.processes.get_mut(&pid) {
            match next {
                Next::Unchanged => {}
                Next::Settled => known.looks.settled(),
                Next::Later => known.looks.later(BootNanos::now()),
            }
        }
    }

    /// Asks for a look at a process, unless there was one for this reason just now.
    fn ask(&mut self, pid: Pid, why: Why) {
        let Some(known) = self.processes.get_mut(&pid) else {
            return;
        };
        if !self.blocked.contains(&known.process()) && known.looks.may_look(why, BootNanos::now()) {
            self.requests.extend(self.facilities.look(known, why));
        }
    }

    /// Has told what is known of a process.
    fn tell(&mut self, pid: Pid) {
        self.change(pid, Facilities::tell);
    }

    /// Has facilities do something with a process, and shows the data plane what has become of it.
    fn change<T>(
        &mut self,
        pid: Pid,
        act: impl FnOnce(&mut Facilities, &mut Known) -> T,
    ) -> Option<T> {
        let known = self.processes.get_mut(&pid)?;
        let done = act(&mut self.facilities, known);
        self.show(pid);
        Some(done)
    }

    /// Shows the data plane a process as it is now, or that it is gone.
    fn show(&mut self, pid: Pid) {
        let all = !self.facilities.whole_host;
        let known = self.processes.get(&pid);
        self.has_changed |= match known.filter(|known| all || known.is_profiled()) {
            Some(known) => self.snapshot.put(known.target()),
            None => self.snapshot.remove(pid),
        };
    }

    /// Puts a process into the table; `is_new`: it takes the place of whatever had its pid.
    fn insert(&mut self, pid: Pid, mut known: Known, is_new: bool) {
        let before = self.processes.get(&pid);
        let is_other = before.is_none();
        let was_profiled = before.is_some_and(Known::is_profiled);
        if let Some(before) = before.filter(|_| is_new) {
            if before.process() != known.process() {
                self.facilities.errands.forget(before.process());
            }
            self.facilities.ended(before, Some(&mut known));
        }
        if known.is_profiled() && !was_profiled && self.profiled >= self.most_profiled {
            self.facilities.no_room(&mut known);
            // There may be room for it later.
            known.seen.clear();
        }
        let others = self.processes.len() - self.profiled;
        if is_other && !known.is_profiled() && others >= MAX_OTHERS {
            self.facilities.health.count(Loss::OthersFull);
            return;
        }
        self.profiled += usize::from(known.is_profiled());
        self.profiled -= usize::from(was_profiled);
        self.processes.insert(pid, known);
        self.show(pid);
    }

    fn forget(&mut self, pid: Pid) {
        if let Some(gone) = self.processes.remove(&pid) {
            self.profiled -= usize::from(gone.is_profiled());
            self.show(pid);
            self.facilities.errands.forget(gone.process());
            self.facilities.ended(&gone, None);
        }
        if let Scope::Processes { pids, .. } = &mut self.scope {
            // The next process with this pid is not the one that was asked for.
            pids.retain(|it| *it != pid);
        }
        self.tell_gone(pid);
    }

    fn tell_gone(&mut self, pid: Pid) {
        if let Err(error) = self.facilities.control.remove_process(pid) {
            tracing::debug!(%pid, %error, "cannot forget a process");
        }
    }
}

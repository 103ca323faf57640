//! Errands: what nearly always is done at once, and yet can block for as long as a process or a server likes, such as
//! opening a file of a process, or reading its command line.
//!
//! A worker runs them, one after the other. Whoever sends it out waits for it a moment, as long as no errand is late and
//! not too much of its time goes by waiting; if it takes longer, the result is delivered when it is there. An errand
//! that exceeds the deadline costs its worker, and its process is sent no other before that worker is back: so a process
//! blocks one worker at most.

#[cfg(test)]
mod tests;

use std::{
    any::Any,
    collections::{HashMap, HashSet},
    fmt, io,
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    time::{Duration, Instant},
};

use super::workers::{GivenUp, Report, Settings, Work, Workers};
use crate::{
    health::{Health, Loss},
    id::ProcessKey,
    time::monotonic_now,
};

/// How errands are run. One takes a millisecond, and some 100 for a large file that was never read: what takes several
/// times that is kept waiting.
const SETTINGS: Settings = Settings {
    name: "errands",
    deadline: Duration::from_millis(500),
    max_waiting: 16_384,
    max_abandoned: 64,
};
/// How long the result of one is waited for.
const PATIENCE: Duration = Duration::from_millis(50);
/// A wait that was longer than this is followed by a time without waits, so many times as long: nobody can make the
/// agent wait more than a part of its time.
const SHORT: Duration = Duration::from_millis(10);
const RECOVERY: u32 = 4;
/// How often workers are watched over while something waits for all errands.
const SUPERVISE: Duration = Duration::from_millis(20);

/// What an errand brings back, as the type that its sender makes of it.
pub type Brought = Box<dyn Any + Send>;

/// Who is sent the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sender {
    /// The table of processes.
    Table,
    /// The facility of this place.
    Facility(usize),
}

/// What a worker is to do.
#[derive(Clone)]
struct Errand {
    number: u64,
    process: ProcessKey,
    work: Arc<dyn Fn() -> Brought + Send + Sync>,
}

/// A result that came after the control thread had stopped waiting for it.
pub struct Delivery {
    /// Of which process.
    pub process: ProcessKey,
    /// What receives it.
    pub to: Sender,
    /// What it is.
    pub result: Brought,
}

/// What has come of errands that nobody waits for.
#[derive(Default)]
pub struct News {
    /// Results.
    pub delivered: Vec<Delivery>,
    /// Processes that block a worker from now on.
    pub blocked: Vec<ProcessKey>,
    /// Processes that something is still to be learnt of: they block no more, or no worker was left for them.
    pub again: Vec<ProcessKey>,
}

/// The errands of the control plane.
pub struct Errands {
    workers: Workers<Errand, Brought>,
    done: Receiver<Report<Errand, Brought>>,
    health: Health,
    last_number: u64,
    /// The errand that is on its way for a process, one at a time, and who wants its result, if anybody still does.
    wanted: HashMap<ProcessKey, (Option<Sender>, u64)>,
    /// Processes that another errand was wanted of meanwhile.
    turned_away: HashSet<ProcessKey>,
    /// Those that are on their way and were not given up.
    on_their_way: HashSet<u64>,
    /// Processes that block a worker.
    blocked: HashSet<ProcessKey>,
    news: News,
    /// There is no waiting before this.
    impatient_until: Option<Instant>,
}

impl fmt::Debug for Errands {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Errands")
            .field("wanted", &self.wanted)
            .field("blocked", &self.blocked)
            .finish_non_exhaustive()
    }
}

impl Errands {
    /// Starts the worker; `prepare` is called on it first.
    pub fn start(prepare: fn(), health: Health) -> io::Result<Self> {
        let (sender, done) = channel();
        let begin = move || -> Work<Errand, Brought> {
            prepare();
            Box::new(|errand: &Errand| (errand.work)())
        };
        let deliver = move |report| {
            // Nobody wants it any more if the session is over.
            let _ = sender.send(report);
        };
        Ok(Self {
            workers: Workers::start(SETTINGS, begin, deliver)?,
            done,
            health,
            last_number: 0,
            wanted: HashMap::new(),
            turned_away: HashSet::new(),
            on_their_way: HashSet::new(),
            blocked: HashSet::new(),
            news: News::default(),
            impatient_until: None,
        })
    }

    /// Sends a worker out, and waits for it a moment. `None` if the result is not there yet: then it is delivered
    /// ([`Self::news`]), or the process is named as one that something is still to be learnt of. A process has one errand
    /// on its way at most.
    pub fn run(
        &mut self,
        process: ProcessKey,
        sender: Sender,
        work: impl Fn() -> Brought + Send + Sync + 'static,
    ) -> Option<Brought> {
        if self.has(process) {
            self.turned_away.insert(process);
            return None;
        }
        let is_free = !self.are_on_their_way();
        self.last_number += 1;
        let number = self.last_number;
        let asked = self.workers.ask(Errand {
            number,
            process,
            work: Arc::new(work),
        });
        if let Err(refused) = asked {
            self.health.count(refused.counts_as());
            self.news.again.push(process);
            return None;
        }
        self.wanted.insert(process, (Some(sender), number));
        self.on_their_way.insert(number);
        let start = monotonic_now();
        if !is_free || self.impatient_until.is_some_and(|until| start < until) {
            return None;
        }
        let result = self.wait(number, start);
        let took = start.elapsed();
        self.impatient_until = (took > SHORT).then(|| start + took * (RECOVERY + 1));
        result
    }

    /// Waits for one errand.
    fn wait(&mut self, number: u64, start: Instant) -> Option<Brought> {
        loop {
            let left = PATIENCE.checked_sub(start.elapsed())?;
            let report = self.done.recv_timeout(left).ok()?;
            let is_it = matches!(&report, Report::InTime(errand, _) if errand.number == number);
            self.take(report);
            if is_it {
                return self.news.delivered.pop().map(|it| it.result);
            }
        }
    }

    /// The results of a process's errands are not wanted any more: it has ended, or runs another program.
    pub fn forget(&mut self, process: ProcessKey) {
        if let Some((wants, _)) = self.wanted.get_mut(&process) {
            *wants = None;
        }
    }

    /// Whether something is on its way for a process, or it blocks a worker.
    pub fn has(&self, process: ProcessKey) -> bool {
        self.blocked.contains(&process) || self.wanted.contains_key(&process)
    }

    /// Whether any is on its way that was not given up.
    pub fn are_on_their_way(&self) -> bool {
        !self.on_their_way.is_empty()
    }

    /// Whether a process blocks a worker.
    pub fn is_blocked(&self, process: ProcessKey) -> bool {
        self.blocked.contains(&process)
    }

    /// What has come since this was last called. Also watches over the workers: to be called about as often as an errand
    /// may take, by a thread that has the rights a worker needs.
    pub fn news(&mut self) -> News {
        while let Ok(report) = self.done.try_recv() {
            self.take(report);
        }
        for given_up in self.workers.supervise() {
            match given_up {
                GivenUp::TooSlow(errand) => {
                    self.health.count(Loss::FilesBlocked);
                    self.on_their_way.remove(&errand.number);
                    self.blocked.insert(errand.process);
                    self.news.blocked.push(errand.process);
                }
                GivenUp::NoWorker(errand) => {
                    self.health.count(Loss::LookNoWorker);
                    self.on_their_way.remove(&errand.number);
                    self.take_wanted(&errand);
                    self.turned_away.remove(&errand.process);
                    self.news.again.push(errand.process);
                }
            }
        }
        std::mem::take(&mut self.news)
    }

    /// Waits a moment for what is on its way; false if nothing is.
    pub fn wait_for_some(&mut self) -> bool {
        if !self.are_on_their_way() {
            return false;
        }
        if let Ok(report) = self.done.recv_timeout(SUPERVISE) {
            self.take(report);
        }
        true
    }

    fn take(&mut self, report: Report<Errand, Brought>) {
        let (errand, result) = match report {
            Report::InTime(errand, result) | Report::Late(errand, result) => (errand, Some(result)),
            Report::Panicked(errand) => {
                self.health.count(Loss::LookPanicked);
                (errand, None)
            }
        };
        // Only one that was given up may have blocked.
        if self.blocked.remove(&errand.process) {
            self.news.again.push(errand.process);
        }
        self.on_their_way.remove(&errand.number);
        if self.turned_away.remove(&errand.process) {
            self.news.again.push(errand.process);
        }
        if let (Some(to), Some(result)) = (self.take_wanted(&errand), result) {
            self.news.delivered.push(Delivery {
                process: errand.process,
                to,
                result,
            });
        }
    }

    /// Who wants the result of an errand, if anybody still does.
    fn take_wanted(&mut self, errand: &Errand) -> Option<Sender> {
        let (to, number) = *self.wanted.get(&errand.process)?;
        if number != errand.number {
            return None;
        }
        self.wanted.remove(&errand.process);
        to
    }
}

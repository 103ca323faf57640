//! Workers that may be abandoned: threads for operations that others can make wait for as long as they like.
//!
//! A read of a process's memory waits for its page, and a process can keep that page from coming (a FUSE mount whose
//! server does not answer); a file can lie on a server that is gone. Nothing interrupts such a read, so the agent
//! abandons the thread that made it, and another takes its place. The number of abandoned threads is bounded: at the
//! bound there is no worker until one of them returns.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::{health::Loss, time::monotonic_now};

/// Settings of one kind of workers.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// The name of their threads.
    pub name: &'static str,
    /// How long one job may take.
    pub deadline: Duration,
    /// Most jobs that may wait.
    pub max_waiting: usize,
    /// Most workers that may be abandoned and not have returned yet.
    pub max_abandoned: usize,
}

/// A job that has ended, as the worker's own thread reports it.
#[derive(Debug)]
pub enum Report<Job, Answer> {
    /// It was done in time.
    InTime(Job, Answer),
    /// It was done after it was given up.
    Late(Job, Answer),
    /// The worker panicked: a fault of ours, which must not cost others theirs.
    Panicked(Job),
}

/// A job that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GivenUp<Job> {
    /// It took longer than the deadline. Its [`Report::Late`] may follow when it ends.
    TooSlow(Job),
    /// It was never begun: all workers are abandoned, and there may be no more.
    NoWorker(Job),
}

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Too many wait.
    Full,
    /// All workers are abandoned, and there may be no more.
    NoWorker,
}

impl Refused {
    /// The loss that a look or an errand counts as.
    pub fn counts_as(self) -> Loss {
        match self {
            Self::Full => Loss::LookDropped,
            Self::NoWorker => Loss::LookNoWorker,
        }
    }
}

/// What one worker does with a job.
pub type Work<Job, Answer> = Box<dyn FnMut(&Job) -> Answer>;
/// Makes the function that does one worker's jobs, on that worker's thread.
type Begin<Job, Answer> = dyn Fn() -> Work<Job, Answer> + Send + Sync;
/// Takes a report, on the worker's thread.
type Deliver<Job, Answer> = dyn Fn(Report<Job, Answer>) + Send + Sync;

/// One worker at a time, and those that were abandoned.
pub struct Workers<Job, Answer> {
    shared: Arc<Shared<Job, Answer>>,
}

struct Shared<Job, Answer> {
    settings: Settings,
    begin: Box<Begin<Job, Answer>>,
    deliver: Box<Deliver<Job, Answer>>,
    state: Mutex<State<Job>>,
    changed: Condvar,
}

struct State<Job> {
    waiting: VecDeque<Job>,
    /// The number of the current worker: those with other numbers were abandoned. `None` if there is none.
    worker: Option<u64>,
    last_number: u64,
    /// The job of that worker, and when it began.
    busy: Option<(Job, Instant)>,
    abandoned: usize,
    is_over: bool,
}

impl<Job, Answer> Workers<Job, Answer>
where
    Job: Clone + Send + 'static,
    Answer: 'static,
{
    /// Starts the first worker. `begin` makes the function that does its jobs and `deliver` takes the results, both on
    /// the worker's own thread; `deliver` may wait.
    pub fn start(
        settings: Settings,
        begin: impl Fn() -> Work<Job, Answer> + Send + Sync + 'static,
        deliver: impl Fn(Report<Job, Answer>) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            settings,
            begin: Box::new(begin),
            deliver: Box::new(deliver),
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                worker: None,
                last_number: 0,
                busy: None,
                abandoned: 0,
                is_over: false,
            }),
            changed: Condvar::new(),
        });
        shared.spawn(&mut shared.state())?;
        Ok(Self { shared })
    }

    /// How long one job may take: [`Self::supervise`] should be called about as often.
    pub fn deadline(&self) -> Duration {
        self.shared.settings.deadline
    }

    /// Queues a job. Never waits, even if all workers are blocked, and starts no thread.
    pub fn ask(&self, job: Job) -> Result<(), Refused> {
        let mut state = self.shared.state();
        if state.worker.is_none() {
            return Err(Refused::NoWorker);
        }
        if state.waiting.len() >= self.shared.settings.max_waiting {
            return Err(Refused::Full);
        }
        state.waiting.push_back(job);
        drop(state);
        self.shared.changed.notify_one();
        Ok(())
    }

    /// Abandons the worker if its job takes too long, and starts another; returns the jobs that are given up. Must be
    /// called by a thread that has the rights a worker needs.
    pub fn supervise(&self) -> Vec<GivenUp<Job>> {
        let deadline = self.shared.settings.deadline;
        let mut state = self.shared.state();
        let mut given_up = Vec::new();
        if let Some((job, _)) = state.busy.take_if(|(_, since)| since.elapsed() > deadline) {
            state.worker = None;
            state.abandoned += 1;
            given_up.push(GivenUp::TooSlow(job));
        }
        if state.worker.is_none() && !self.shared.replace(&mut state) {
            given_up.extend(state.waiting.drain(..).map(GivenUp::NoWorker));
        }
        given_up
    }
}

impl<Job, Answer> Drop for Workers<Job, Answer> {
    fn drop(&mut self) {
        self.shared.state().is_over = true;
        self.shared.changed.notify_all();
    }
}

impl<Job, Answer> Shared<Job, Answer> {
    fn state(&self) -> MutexGuard<'_, State<Job>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Job, Answer> Shared<Job, Answer>
where
    Job: Clone + Send + 'static,
    Answer: 'static,
{
    /// Starts a worker in place of one that was abandoned, if there may be one more.
    fn replace(self: &Arc<Self>, state: &mut State<Job>) -> bool {
        if state.abandoned >= self.settings.max_abandoned {
            return false;
        }
        self.spawn(state)
            .inspect_err(|error| tracing::warn!("cannot start another thread: {error}"))
            .is_ok()
    }

    fn spawn(self: &Arc<Self>, state: &mut State<Job>) -> io::Result<()> {
        let number = state.last_number + 1;
        let shared = Arc::clone(self);
        thread::Builder::new()
            .name(self.settings.name.to_owned())
            .spawn(move || shared.run(number))?;
        state.last_number = number;
        state.worker = Some(number);
        Ok(())
    }

    fn run(&self, mut number: u64) {
        let mut work = (self.begin)();
        while let Some(job) = self.next(number) {
            // What the work keeps may be torn after a panic, so it is made anew.
            let answer = catch_unwind(AssertUnwindSafe(|| work(&job)));
            if answer.is_err() {
                work = (self.begin)();
            }
            let is_in_time = self.is_done(number);
            (self.deliver)(match answer {
                Ok(answer) if is_in_time => Report::InTime(job, answer),
                Ok(answer) => Report::Late(job, answer),
                Err(_) => Report::Panicked(job),
            });
            if is_in_time {
                continue;
            }
            match self.come_back() {
                Some(new) => number = new,
                None => return,
            }
        }
    }

    /// Waits for a job; `None` if the worker must end.
    fn next(&self, number: u64) -> Option<Job> {
        let mut state = self.state();
        loop {
            if state.is_over || state.worker != Some(number) {
                return None;
            }
            if let Some(job) = state.waiting.pop_front() {
                state.busy = Some((job.clone(), monotonic_now()));
                return Some(job);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A worker has done its job; returns whether it still is the current worker.
    fn is_done(&self, number: u64) -> bool {
        let mut state = self.state();
        let is_worker = state.worker == Some(number);
        if is_worker {
            state.busy = None;
        }
        is_worker
    }

    /// An abandoned worker has returned: if there is no current worker, it becomes that, under a new number.
    fn come_back(&self) -> Option<u64> {
        let mut state = self.state();
        state.abandoned = state.abandoned.saturating_sub(1);
        if state.worker.is_some() {
            return None;
        }
        state.last_number += 1;
        state.worker = Some(state.last_number);
        state.worker
    }
}

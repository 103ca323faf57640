//! Who looks at processes: one at a time, and given up if the process does not let its memory be read.

use std::{io, time::Duration};

use crate::{
    health::{Health, Loss},
    id::ProcessKey,
    targets::{
        opentelemetry::looker::{Answer, Looker, Request},
        workers::{GivenUp, Refused, Report, Settings, Work, Workers},
    },
};

/// How looks are made. One takes some milliseconds, and 40,000 reads (the most) some 50: what takes ten times that
/// is kept waiting.
pub const SETTINGS: Settings = Settings {
    name: "looker",
    deadline: Duration::from_millis(500),
    max_waiting: 16_384,
    max_abandoned: 16,
};

/// What comes of a look.
#[derive(Clone, Debug)]
pub enum Look {
    /// Something new was found.
    Found(Box<Answer>),
    /// Nothing new was found, in this process.
    Nothing(ProcessKey),
    /// A process that was given up lets itself be read now, or is gone. What was read of it is not told: some of it was
    /// read before the wait and some after, by the will of the process, and meanwhile it may run another program. It is
    /// to be looked at anew.
    Unblocked(ProcessKey),
}

/// Looks at processes, by a thread of their own.
pub struct Looks {
    workers: Workers<Request, Option<Answer>>,
    health: Health,
}

impl Looks {
    /// Starts the thread; `prepare` is called on it first, and `tell` with what was found.
    pub fn start(
        prepare: fn(),
        tell: impl Fn(Look) + Send + Sync + 'static,
        health: Health,
    ) -> io::Result<Self> {
        let begin = move || -> Work<Request, Option<Answer>> {
            prepare();
            let mut looker = Looker::default();
            Box::new(move |request| looker.look(request))
        };
        let deliver = move |report: Report<Request, Option<Answer>>| {
            tell(match report {
                Report::InTime(_, Some(answer)) => Look::Found(Box::new(answer)),
                Report::InTime(request, None) => Look::Nothing(request.process),
                Report::Late(request, _) => Look::Unblocked(request.process),
            });
        };
        let workers = Workers::start(SETTINGS, begin, deliver)?;
        Ok(Self { workers, health })
    }

    /// Has a process looked at; whether it will be. Where it will not, that is counted.
    pub fn ask(&self, request: Request) -> bool {
        let refused = self.workers.ask(request).err();
        match refused {
            Some(Refused::Full) => self.health.count(Loss::LookDropped),
            Some(Refused::NoWorker) => self.health.count(Loss::LookNoWorker),
            None => {}
        }
        refused.is_none()
    }

    /// Gives up the look that takes too long: the processes that were not looked at, those that have kept somebody
    /// waiting first. Each is counted.
    pub fn give_up(&self) -> GivenUpLooks {
        let mut looks = GivenUpLooks::default();
        for given_up in self.workers.supervise() {
            match given_up {
                GivenUp::TooSlow(request) => {
                    self.health.count(Loss::LookBlocked);
                    looks.blocked.push(request.process);
                }
                GivenUp::NoWorker(request) => {
                    self.health.count(Loss::LookNoWorker);
                    looks.never_begun.push(request.process);
                }
            }
        }
        looks
    }
}

/// Processes that were not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GivenUpLooks {
    /// Those that have kept somebody waiting.
    pub blocked: Vec<ProcessKey>,
    /// Those that nobody was left for.
    pub never_begun: Vec<ProcessKey>,
}

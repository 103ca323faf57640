//! Who looks at processes: one at a time, and given up if the process does not let its memory be read.

use std::{io, time::Duration};

use super::{Looker, Request, Seen};
use crate::{
    health::{Health, Loss},
    id::ProcessKey,
    targets::workers::{GivenUp, Report, Settings, Work, Workers},
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
#[derive(Debug)]
pub enum Look {
    /// Something new was found.
    Found(Seen),
    /// Nothing new was found, in this process.
    Nothing(ProcessKey),
    /// A process that was given up lets itself be read now, or is gone. What was read of it is not told: some of it was
    /// read before the wait and some after, by the will of the process, and meanwhile it may run another program. It is
    /// to be looked at anew.
    Unblocked(ProcessKey),
}

/// Looks at processes, by a thread of their own.
pub struct Looks {
    workers: Workers<Request, Option<Seen>>,
    health: Health,
}

impl Looks {
    /// Starts the thread; `prepare` is called on it first, and `tell` with what was found.
    pub fn start(
        prepare: fn(),
        tell: impl Fn(Look) + Send + Sync + 'static,
        health: Health,
    ) -> io::Result<Self> {
        let begin = move || -> Work<Request, Option<Seen>> {
            prepare();
            let mut looker = Looker::default();
            Box::new(move |request| looker.look(request))
        };
        let counts = health.clone();
        let deliver = move |report: Report<Request, Option<Seen>>| {
            tell(match report {
                Report::InTime(_, Some(seen)) => Look::Found(seen),
                Report::InTime(request, None) => Look::Nothing(request.process),
                Report::Late(request, _) => Look::Unblocked(request.process),
                Report::Panicked(request) => {
                    counts.count(Loss::LookPanicked);
                    Look::Nothing(request.process)
                }
            });
        };
        let workers = Workers::start(SETTINGS, begin, deliver)?;
        Ok(Self { workers, health })
    }

    /// Has a process looked at; whether it will be. Where it will not, that is counted.
    pub fn ask(&self, request: Request) -> bool {
        let refused = self.workers.ask(request).err();
        if let Some(refused) = refused {
            self.health.count(refused.counts_as());
        }
        refused.is_none()
    }

    /// Gives up the look that takes too long, and all that wait if nobody is left to make them. Each is counted.
    pub fn give_up(&self) -> GivenUpLooks {
        let mut looks = GivenUpLooks::default();
        for given_up in self.workers.supervise() {
            match given_up {
                GivenUp::TooSlow(request) => {
                    self.health.count(Loss::LookBlocked);
                    looks.blocked.push(request);
                }
                GivenUp::NoWorker(request) => {
                    self.health.count(Loss::LookNoWorker);
                    looks.never_begun.push(request);
                }
            }
        }
        looks
    }
}

/// Looks that were not made.
#[derive(Clone, Default)]
pub struct GivenUpLooks {
    /// Those whose processes have kept somebody waiting.
    pub blocked: Vec<Request>,
    /// Those that nobody was left for.
    pub never_begun: Vec<Request>,
}

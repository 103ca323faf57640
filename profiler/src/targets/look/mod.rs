//! Looks at the memory of processes, by workers that may be abandoned: a hostile process can make a read of its memory
//! block.
//!
//! A look is made of *parts*: each facility adds the one that it needs, and gets the answer to that one only. The parts
//! are read one after the other, in the order of the facilities, by one worker within one deadline.

pub mod looks;
pub mod memory;

use std::{any::Any, io, sync::Arc, time::Duration};

use http::Extensions;

use self::memory::Memory;
use crate::{id::ProcessKey, targets::Program, time::monotonic_now};

/// What a part has found, as the type that its facility makes of it.
pub type Answer = Box<dyn Any + Send>;

/// What one facility wants to know of the memory of one process. All is called on a worker's thread.
pub trait Part: Any + Send + Sync {
    /// Reads what is wanted; `None` if there is nothing new.
    fn read(&self, reading: &mut Reading<'_>) -> Option<Answer>;

    /// The answer if the memory cannot be opened, because the process is gone or may not be read.
    fn unreadable(&self, _error: &io::Error) -> Option<Answer> {
        None
    }
}

/// What a part reads by.
pub struct Reading<'a> {
    /// Which process.
    pub process: ProcessKey,
    /// Its memory.
    pub memory: &'a Memory,
    /// The answers to the parts that come first.
    earlier: &'a [Option<Answer>],
    /// What parts keep on the worker.
    kept: &'a mut Extensions,
}

impl<'a> Reading<'a> {
    /// What a part that comes first has found, by the type of its answer.
    pub fn earlier<T: Any>(&self) -> Option<&'a T> {
        let mut answers = self.earlier.iter().flatten();
        answers.find_map(|it| it.downcast_ref())
    }

    /// What a facility keeps from one look to the next, of all processes, by its type. It is gone if the worker is
    /// abandoned: it may only save work.
    pub fn kept<T: Clone + Default + Send + Sync + 'static>(&mut self) -> &mut T {
        self.kept.get_or_insert_default()
    }
}

/// A process to look at.
#[derive(Clone)]
pub struct Request {
    /// Which.
    pub process: ProcessKey,
    /// Which program it ran then.
    program: Program,
    /// What each facility wants to know, in their order.
    parts: Vec<Option<Arc<dyn Part>>>,
}

impl Request {
    /// A look that has these parts, one place for each facility; `None` if none wants anything.
    pub fn new(
        process: ProcessKey,
        program: Program,
        parts: Vec<Option<Arc<dyn Part>>>,
    ) -> Option<Self> {
        let is_wanted = parts.iter().any(Option::is_some);
        is_wanted.then_some(Self {
            process,
            program,
            parts,
        })
    }

    /// Whether the facility of this place wants to know something.
    pub fn has(&self, place: usize) -> bool {
        self.parts.get(place).is_some_and(Option::is_some)
    }

    /// The part of this type, if there is one.
    pub fn part<T: Part>(&self) -> Option<&T> {
        let parts = self.parts.iter().flatten();
        let mut parts = parts.map(|part| -> &dyn Any { &**part });
        parts.find_map(|it| it.downcast_ref())
    }
}

/// What a look has found.
#[derive(Debug)]
pub struct Seen {
    /// In which process.
    pub process: ProcessKey,
    /// In which program of that process.
    pub program: Program,
    /// How long it took.
    pub took: Duration,
    /// For each facility, in their order.
    answers: Vec<Option<Answer>>,
}

impl Seen {
    /// The answer to the part of this place's facility.
    pub fn take(&mut self, place: usize) -> Option<Answer> {
        self.answers.get_mut(place)?.take()
    }

    /// The answer of this type, if there is one.
    pub fn answer_mut<T: Any>(&mut self) -> Option<&mut T> {
        let mut answers = self.answers.iter_mut().flatten();
        answers.find_map(|it| it.downcast_mut())
    }
}

/// Looks at processes, one after the other.
#[derive(Default)]
pub struct Looker {
    kept: Extensions,
}

impl Looker {
    /// Looks at one process; `None` if there is nothing new.
    pub fn look(&mut self, request: &Request) -> Option<Seen> {
        let process = request.process;
        let start = monotonic_now();
        let memory = Memory::open(process);
        let mut answers = Vec::with_capacity(request.parts.len());
        for part in &request.parts {
            let answer = part.as_ref().and_then(|part| match &memory {
                Ok(memory) => {
                    memory.refill();
                    part.read(&mut Reading {
                        process,
                        memory,
                        earlier: &answers,
                        kept: &mut self.kept,
                    })
                }
                Err(error) => part.unreadable(error),
            });
            answers.push(answer);
        }
        let is_new = answers.iter().any(Option::is_some);
        is_new.then_some(Seen {
            process,
            program: request.program.clone(),
            took: start.elapsed(),
            answers,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Answer, Looker, Part, Reading, Request};
    use crate::{
        id::{Pid, ProcessKey},
        targets::{Program, procfs},
    };

    /// Reads a number of this very process.
    struct Number(u64);

    #[derive(Clone, Default)]
    struct Looks(u32);

    impl Part for Number {
        fn read(&self, reading: &mut Reading<'_>) -> Option<Answer> {
            reading.kept::<Looks>().0 += 1;
            let mut bytes = [0; 8];
            let is_read = reading.memory.fill(self.0, &mut bytes);
            is_read.then(|| -> Answer { Box::new(u64::from_ne_bytes(bytes)) })
        }

        fn unreadable(&self, _: &std::io::Error) -> Option<Answer> {
            Some(Box::new("unreadable"))
        }
    }

    /// Doubles what the part before it has read.
    struct Twice;

    impl Part for Twice {
        fn read(&self, reading: &mut Reading<'_>) -> Option<Answer> {
            let number: u64 = *reading.earlier()?;
            let looks = reading.kept::<Looks>().0;
            Some(Box::new((2 * number, looks)))
        }
    }

    /// Each part is read, knows what those before it have found, and its answer is its facility's; what is kept is kept
    /// from one look to the next. A process that is gone answers as each part says, and no part is no look.
    #[test]
    fn parts_are_read_in_their_order() {
        let number = 21_u64;
        let process = procfs::stat(Pid(std::process::id())).unwrap().process;
        let address = std::ptr::from_ref(&number).addr() as u64;
        let parts: Vec<Option<Arc<dyn Part>>> =
            vec![Some(Arc::new(Number(address))), None, Some(Arc::new(Twice))];
        let request = Request::new(process, Program::default(), parts.clone()).unwrap();
        assert!(request.has(0) && !request.has(1) && !request.has(7));
        assert_eq!(request.part::<Number>().unwrap().0, address);
        let mut looker = Looker::default();
        looker.look(&request).unwrap();
        let mut seen = looker.look(&request).unwrap();
        assert_eq!(seen.take(0).unwrap().downcast_ref(), Some(&21_u64));
        assert!(seen.take(1).is_none());
        assert_eq!(seen.take(2).unwrap().downcast_ref(), Some(&(42_u64, 2_u32)));
        let gone = ProcessKey {
            start_time: process.start_time + 1,
            ..process
        };
        let gone = Request::new(gone, Program::default(), parts).unwrap();
        let mut seen = looker.look(&gone).unwrap();
        assert_eq!(seen.take(0).unwrap().downcast_ref(), Some(&"unreadable"));
        assert!(seen.take(2).is_none());
        assert!(Request::new(process, Program::default(), vec![None]).is_none());
    }
}

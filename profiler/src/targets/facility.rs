//! The contract between the table of processes and what is learnt of them.
//!
//! A *facility* is one kind of thing that is learnt from files and processes: which CPython a process runs, how its
//! current span is read, which service its CPU is counted for. Each has the same four verbs, and nothing else crosses
//! between it and the table: it *recognises* a file, *places* what it has recognised in a process, says what a worker
//! is to *look* at in the process's memory, and *tells* the kernel and the data plane what it knows.
//!
//! What it knows of a process it keeps in [`Known`] as a type of its own, which others may read. The order of the
//! table (`facilities.rs`) is the order of every verb: a facility may rely on what those before it have done.

use std::{any::Any, collections::HashMap, sync::Arc};

pub use super::why::Why;
use super::{
    Mapping,
    elf::{Elf, ElfError, FileState},
    errands::{Brought, Errands, Sender},
    look::{Answer, Part},
    registry::Known,
};
use crate::{
    events::Resource,
    health::Health,
    id::{Pid, ProcessKey},
    kernel::Control,
    time::BootNanos,
};

/// What one file says to one facility.
pub type Facts = Arc<dyn Any + Send + Sync>;

/// The facts of one ELF file, or `None` if it holds nothing of a facility's kind. Asked once per state of a file.
pub type Recognise = fn(&Elf<'_>) -> Option<Facts>;

/// The processes that are known, by pid.
pub type Processes = HashMap<Pid, Known>;

/// One kind of thing that is learnt from files and processes. All is called on the control thread: what can block is
/// for [`Self::look`], or for an errand ([`Desk::send`]). Only what a facility needs has to be written: by default a verb
/// does nothing.
pub trait Facility: Send {
    /// How it recognises a file. A worker does it, as reading a file can block: so it is a function of the file alone.
    fn recognise(&self) -> Recognise {
        |_| None
    }

    /// A process maps a file that it did not map before, of whatever kind.
    fn place(
        &mut self,
        _process: &mut Known,
        _found: &Found<'_>,
        _desk: &mut Desk<'_>,
    ) -> Placement {
        Placement::Done
    }

    /// The executable mappings of a process were read anew: puts right what they do not show.
    fn mapped(&self, _process: &mut Known) {}

    /// What a worker is to read for it in a process's memory, if anything: its part of a look.
    fn look(&self, _process: &Known, _why: Why) -> Option<Arc<dyn Part>> {
        None
    }

    /// Takes over the answer to its part of a look, or what an errand of its own has brought, and says when there should
    /// be another. Of what several say the latest of [`Next`] counts.
    fn learn(&mut self, _process: &mut Known, _answer: Answer, _desk: &mut Desk<'_>) -> Next {
        Next::Unchanged
    }

    /// Takes over that a look was not made in which it had a part.
    fn not_looked(&mut self, _process: &mut Known, _why: NotLooked) {}

    /// Tells the kernel's maps and the data plane what is known of a process, if that is not what they were told last.
    /// Called after anything that may have changed it.
    fn tell(&mut self, _process: &mut Known, _desk: &mut Desk<'_>) {}

    /// Takes over what the data plane says of a process; why to look at it now, if there is a reason.
    fn hear(
        &mut self,
        _process: &mut Known,
        _word: &Word<'_>,
        _desk: &mut Desk<'_>,
    ) -> Option<Why> {
        None
    }

    /// Whether something that a process may yet import would tell more.
    fn lacks(&self, _process: &Known) -> bool {
        false
    }

    /// A child has just been forked, and keeps what its parent kept: puts right what is not so in the child. Why to
    /// look at it now, if there is a reason.
    fn forked(&mut self, _child: &mut Known) -> Option<Why> {
        None
    }

    /// Whether it has learnt of a process what holds for its kin, too: for those that it was forked from, and their other
    /// children. Says so once.
    fn has_for_kin(&mut self, _process: &mut Known) -> bool {
        false
    }

    /// Takes over what was learnt of a process's kin.
    fn take_from_kin(&mut self, _process: &mut Known, _kin: &Known) {}

    /// There is no room for one more process: it is not profiled.
    fn no_room(&mut self, _process: &mut Known, _desk: &mut Desk<'_>) {}

    /// A process has ended, or runs another program as `next`.
    fn ended(&mut self, _process: &Known, _next: Option<&mut Known>, _desk: &mut Desk<'_>) {}

    /// Does what is due by the clock, and says when to call again.
    fn due(
        &mut self,
        _processes: &mut Processes,
        _now: BootNanos,
        _desk: &mut Desk<'_>,
    ) -> Option<BootNanos> {
        None
    }
}

/// What facilities act on besides a process.
pub struct Desk<'a> {
    /// The kernel's maps and programs.
    pub control: &'a mut dyn Control,
    /// Where losses are counted.
    pub health: &'a Health,
    /// Whether every CPython of the host is profiled, and nothing else; if not, all that is known is, Python or not.
    pub whole_host: bool,
    pub(super) errands: &'a mut Errands,
    /// Processes of which facilities are to tell again.
    pub(super) untold: &'a mut Vec<Pid>,
    /// The place of the facility that acts.
    pub(super) place: usize,
}

impl Desk<'_> {
    /// Has a worker do what can block, and waits for it a moment. `None` if it takes longer: the facility learns the
    /// result when it is there ([`Facility::learn`]), or is to ask again when it is next to tell.
    pub fn send(
        &mut self,
        process: ProcessKey,
        work: impl Fn() -> Brought + Send + Sync + 'static,
    ) -> Option<Brought> {
        let sender = Sender::Facility(self.place);
        self.errands.run(process, sender, work)
    }

    /// Has all facilities tell of a process again ([`Facility::tell`]): the clock has changed what one of them keeps.
    pub fn tell_again(&mut self, pid: Pid) {
        self.untold.push(pid);
    }
}

/// A file that a process maps.
pub struct Found<'a> {
    /// Where: its code, or if that is nowhere, the first of what is left of it.
    pub mapping: &'a Mapping,
    /// The state of the file that [`Self::facts`] are of, or why it cannot be read.
    pub state: Result<FileState, &'a ElfError>,
    /// What the facility has recognised in it.
    pub facts: Option<&'a Facts>,
}

impl Found<'_> {
    /// The facts, as the type that the facility makes them of.
    pub fn facts<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        Arc::clone(self.facts?).downcast().ok()
    }
}

/// How placing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// It is done, or there was nothing to place.
    Done,
    /// This mapping does not tell where the file lies: another one of it may.
    OtherMapping,
}

/// Why a look was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLooked {
    /// The process's memory could not be read within the deadline.
    Blocked,
    /// Every worker there may be is left to another process that blocks.
    NoWorker,
}

/// When to look at a process again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Next {
    /// When that was planned.
    Unchanged,
    /// When there is a reason.
    Settled,
    /// After a while: what is not there yet may be then.
    Later,
}

/// What the data plane says of a process.
#[derive(Clone, Copy, Debug)]
pub enum Word<'a> {
    /// The hook has told the resource.
    Resource(&'a Resource),
    /// The kernel could not follow the recipe, perhaps for want of this class of spans.
    StaleRecipe(Option<u64>),
    /// A thread runs in an interpreter that the kernel knows nothing of.
    UnknownInterpreter,
    /// It has used CPU time.
    HasRun,
}

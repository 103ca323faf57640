//! All facilities, asked one after the other.

use std::sync::Arc;

use super::Known;
use crate::{
    health::Health,
    id::Pid,
    kernel::Control,
    targets::{
        Mapping,
        elf::{ElfError, FileState},
        errands::{Brought, Errands},
        facility::{
            Desk, Facility, Facts, Found, Next, NotLooked, Placement, Processes, Recognise, Why,
            Word,
        },
        look::{Request, Seen},
    },
    time::BootNanos,
};

/// What each facility has recognised in one file, in their order.
pub(super) type FileFacts = Arc<[Option<Facts>]>;

/// The facilities, and what they act on.
pub(super) struct Facilities {
    all: Vec<Box<dyn Facility>>,
    pub(super) control: Box<dyn Control>,
    pub(super) health: Health,
    pub(super) whole_host: bool,
    pub(super) errands: Errands,
    /// Processes of which all are to tell again.
    untold: Vec<Pid>,
}

impl Facilities {
    pub(super) fn new(
        all: Vec<Box<dyn Facility>>,
        control: Box<dyn Control>,
        health: Health,
        whole_host: bool,
        errands: Errands,
    ) -> Self {
        Self {
            all,
            control,
            health,
            whole_host,
            errands,
            untold: Vec::new(),
        }
    }

    /// Asks each, with what it acts on.
    fn each(&mut self, mut ask: impl FnMut(usize, &mut dyn Facility, &mut Desk<'_>)) {
        let mut desk = Desk {
            control: &mut *self.control,
            health: &self.health,
            whole_host: self.whole_host,
            errands: &mut self.errands,
            untold: &mut self.untold,
            place: 0,
        };
        for (index, facility) in self.all.iter_mut().enumerate() {
            desk.place = index;
            ask(index, &mut **facility, &mut desk);
        }
    }

    /// How each recognises a file, in their order.
    pub(super) fn recognise(&self) -> Arc<[Recognise]> {
        let all = self.all.iter();
        all.map(|facility| facility.recognise()).collect()
    }

    /// Whether all is placed that a file holds.
    pub(super) fn place(
        &mut self,
        known: &mut Known,
        mapping: &Mapping,
        file: Result<(FileState, &FileFacts), &ElfError>,
    ) -> bool {
        let mut is_placed = true;
        self.each(|index, facility, desk| {
            let facts = file.ok().and_then(|(_, facts)| facts.get(index)?.as_ref());
            let found = Found {
                mapping,
                state: file.map(|(state, _)| state),
                facts,
            };
            is_placed &= facility.place(known, &found, desk) == Placement::Done;
        });
        is_placed
    }

    pub(super) fn mapped(&self, known: &mut Known) {
        for facility in &self.all {
            facility.mapped(known);
        }
    }

    pub(super) fn look(&self, known: &Known, why: Why) -> Option<Request> {
        let parts = self.all.iter().map(|facility| facility.look(known, why));
        Request::new(known.process(), known.program().clone(), parts.collect())
    }

    pub(super) fn learn(&mut self, known: &mut Known, seen: &mut Seen) -> Next {
        let mut next = Next::Unchanged;
        self.each(|index, facility, desk| {
            if let Some(answer) = seen.take(index) {
                next = next.max(facility.learn(known, answer, desk));
            }
        });
        next
    }

    /// Takes over what an errand has brought for the facility of a place.
    pub(super) fn learn_late(&mut self, known: &mut Known, place: usize, brought: Brought) -> Next {
        let (mut next, mut brought) = (Next::Unchanged, Some(brought));
        self.each(|index, facility, desk| {
            if index == place
                && let Some(brought) = brought.take()
            {
                next = facility.learn(known, brought, desk);
            }
        });
        next
    }

    pub(super) fn not_looked(&mut self, known: &mut Known, request: &Request, why: NotLooked) {
        self.each(|index, facility, _| {
            if request.has(index) {
                facility.not_looked(known, why);
            }
        });
    }

    pub(super) fn tell(&mut self, known: &mut Known) {
        self.each(|_, facility, desk| facility.tell(known, desk));
    }

    pub(super) fn hear(&mut self, known: &mut Known, word: &Word<'_>) -> Option<Why> {
        let mut why = None;
        self.each(|_, facility, desk| why = why.max(facility.hear(known, word, desk)));
        why
    }

    /// Processes of which all are to tell again, since this was last called.
    pub(super) fn take_untold(&mut self) -> Vec<Pid> {
        std::mem::take(&mut self.untold)
    }

    pub(super) fn lack(&self, known: &Known) -> bool {
        self.all.iter().any(|facility| facility.lacks(known))
    }

    pub(super) fn forked(&mut self, child: &mut Known) -> Option<Why> {
        let mut why = None;
        self.each(|_, facility, _| why = why.max(facility.forked(child)));
        why
    }

    /// Whether any has learnt what its kin does not know.
    pub(super) fn has_for_kin(&mut self, known: &mut Known) -> bool {
        let mut any = false;
        self.each(|_, facility, _| any |= facility.has_for_kin(known));
        any
    }

    pub(super) fn take_from_kin(&mut self, known: &mut Known, kin: &Known) {
        self.each(|_, facility, _| facility.take_from_kin(known, kin));
    }

    pub(super) fn no_room(&mut self, known: &mut Known) {
        self.each(|_, facility, desk| facility.no_room(known, desk));
    }

    pub(super) fn ended(&mut self, known: &Known, mut next: Option<&mut Known>) {
        self.each(|_, facility, desk| facility.ended(known, next.as_deref_mut(), desk));
    }

    pub(super) fn due(&mut self, processes: &mut Processes, now: BootNanos) -> Option<BootNanos> {
        let mut due = None;
        self.each(|_, facility, desk| {
            let next = facility.due(processes, now, desk);
            due = due.into_iter().chain(next).min();
        });
        due
    }
}

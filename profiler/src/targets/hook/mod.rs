//! The facility of the package's hook: the files that hold one, and which of their probes are on.
//!
//! An attached probe costs a span more than the rest of the hook together, and adds nothing if the context is
//! readable. So the probes of a file are on only while some process that maps it needs them.

mod attributes;
mod file;
pub mod notes;
mod probes;
pub mod process_block;

use std::sync::Arc;

use self::{
    notes::{Refused, find},
    probes::{Opened, Probes, is_idle},
};
use super::{
    facility::{Desk, Facility, Found, Next, Placement, Processes, Recognise, Why, Word},
    look::Answer,
    registry::Known,
};
use crate::{health::Loss, time::BootNanos};

pub use self::{
    file::{HookFile, HookInProcess, Need, ProbesOn},
    notes::Hook,
};

/// The hooks of the host.
#[derive(Debug)]
pub struct HookFacility {
    probes: Probes,
}

impl HookFacility {
    /// None is known yet; `keep_probes`: their probes are on, needed or not.
    pub fn new(keep_probes: bool) -> Self {
        Self {
            probes: Probes::new(keep_probes),
        }
    }
}

impl Facility for HookFacility {
    fn recognise(&self) -> Recognise {
        |elf| match find(elf) {
            Hook::Absent => None,
            found => Some(Arc::new(found)),
        }
    }

    fn place(&mut self, process: &mut Known, found: &Found<'_>, desk: &mut Desk<'_>) -> Placement {
        let (Some(hook), Ok(state)) = (found.facts::<Hook>(), found.state) else {
            return Placement::Done;
        };
        let before = process.kept_mut::<HookInProcess>();
        let mut file = before.and_then(|it| it.file.take());
        match &*hook {
            Hook::Absent => {}
            Hook::Present(facts) => file = Some(HookFile::new(state, found.mapping, facts)),
            Hook::Refused(reason) => {
                let loss = match reason {
                    Refused::Elf(_) => Loss::HookDamaged,
                    _ => Loss::HookUnsupported,
                };
                let (reason, path) = (reason.to_string(), &found.mapping.path);
                self.probes.refuse(state, path, loss, &reason, None, desk);
            }
        }
        process.put(HookInProcess {
            hook: Hook::clone(&hook),
            file,
            need: Need::No,
            ran: BootNanos::now(),
            probes: ProbesOn::default(),
        });
        Placement::Done
    }

    fn learn(&mut self, _: &mut Known, answer: Answer, _: &mut Desk<'_>) -> Next {
        if let Ok(Opened(Some(file))) = answer.downcast().map(|it| *it) {
            self.probes.take_opened(file);
        }
        Next::Unchanged
    }

    fn hear(&mut self, process: &mut Known, word: &Word<'_>, _: &mut Desk<'_>) -> Option<Why> {
        if let (Word::HasRun, Some(hook)) = (word, process.kept_mut::<HookInProcess>()) {
            let now = BootNanos::now();
            let before = std::mem::replace(&mut hook.ran, now);
            self.probes.may_differ |= is_idle(before, now);
        }
        None
    }

    fn tell(&mut self, process: &mut Known, _: &mut Desk<'_>) {
        self.probes.may_differ |= process.kept::<HookInProcess>().is_some();
    }

    fn ended(&mut self, process: &Known, _: Option<&mut Known>, _: &mut Desk<'_>) {
        self.probes.may_differ |= process.kept::<HookInProcess>().is_some();
    }

    fn due(
        &mut self,
        processes: &mut Processes,
        now: BootNanos,
        desk: &mut Desk<'_>,
    ) -> Option<BootNanos> {
        self.probes.update(processes, now, desk)
    }
}

//! What is known of one process's CPython, and what the kernel is to know of it.

use std::{ops::Range, sync::Arc};

use profiler_common::python::Process;

use super::{detect::Facts as FileFacts, globals::Globals, place::Placed, thread_local::Place};
use crate::{
    health::{Health, Loss},
    targets::{FileId, Mapping, Target},
};

/// What is kept of a process's CPython.
#[derive(Clone, Debug, Default)]
pub struct Python {
    /// The interpreter that is profiled.
    pub(super) placed: Option<PlacedPython>,
    /// Where the interpreter's global objects are, as far as that was read.
    pub(super) globals: Option<Globals>,
    /// Why its interpreter is not profiled.
    pub unsupported: Option<String>,
    /// Where it counts the code objects it makes, and its main interpreter: addresses, 0 as long as they are not
    /// known.
    pub(super) code_count: u64,
    pub(super) main_interpreter: u64,
    /// Where its interpreter keeps the state that a thread has attached, and whether that was checked in its threads.
    pub thread_local: Option<Place>,
    pub(super) is_thread_local_checked: bool,
    /// What the kernel was told.
    pub(super) told: Option<Process>,
    /// Whether it was counted that it is not profiled.
    pub(super) is_counted: bool,
}

/// A CPython in a process.
#[derive(Clone, Debug)]
pub(super) struct PlacedPython {
    /// What its file says.
    pub(super) facts: Arc<FileFacts>,
    /// Where it lies.
    pub(super) at: Placed,
    /// The index of its layout in the kernel's map.
    pub(super) layout: u32,
}

impl Python {
    /// What the file of its interpreter says, if it is profiled.
    pub fn facts(&self) -> Option<&Arc<FileFacts>> {
        self.placed.as_ref().map(|placed| &placed.facts)
    }

    /// What was added to that file's addresses.
    pub fn bias(&self) -> Option<u64> {
        self.placed.as_ref().map(|placed| placed.at.bias)
    }

    /// Whether it can be found out where its interpreter keeps the state that a thread has attached, and that is not
    /// known yet, or not checked.
    pub(super) fn lacks_thread_local(&self) -> bool {
        let can_be_found = |facts: &Arc<FileFacts>| facts.thread_local.is_some();
        !self.is_thread_local_checked && self.facts().is_some_and(can_be_found)
    }

    /// Whether something is not known yet that its memory will tell.
    pub(super) fn is_incomplete(&self) -> bool {
        self.lacks_thread_local() || self.lacks_globals()
    }

    /// Whether it is known where the global objects are that thread states and frames are read by.
    pub fn has_globals(&self) -> bool {
        self.globals.is_some()
    }

    /// Whether it is not known where the interpreter's global objects are.
    pub(super) fn lacks_globals(&self) -> bool {
        let has_objects = self.facts().is_some_and(|facts| facts.objects.is_some());
        self.placed.is_some()
            && self
                .globals
                .is_none_or(|it| has_objects && it.of_context.is_none())
    }

    /// It is not profiled: one loss, however often it shows.
    pub(super) fn count(&mut self, health: &Health, loss: Loss) {
        if !std::mem::replace(&mut self.is_counted, true) {
            health.count(loss);
        }
    }

    /// What the kernel is to know of it in a process.
    pub(super) fn entry(&self, target: &Target) -> Process {
        let mut entry = Process {
            start_time: target.process.start_time,
            code_version: self.code_count,
            main_interpreter: self.main_interpreter,
            ..thread_facts(target)
        };
        if let Some(PlacedPython { at, layout, .. }) = &self.placed {
            // Until its loader has put them elsewhere they are where the file has them.
            let globals = self.globals;
            entry.runtime = globals.map_or(at.runtime, |it| it.runtime);
            entry.code_type = globals.map_or(at.code_type, |it| it.code_type);
            entry.layout = *layout;
        }
        if let Some(place) = self.thread_local {
            place.note_in(&mut entry);
        }
        entry
    }
}

/// What tells which thread state a thread runs in, but for the thread-local.
fn thread_facts(target: &Target) -> Process {
    let interpreter = target.interpreter.as_ref();
    let evaluation = interpreter.map_or(0..0, |it| it.evaluation_loop.clone());
    // If other code is in the file, only the loop is known to be the interpreter's.
    let text = interpreter.map_or(0..0, |it| {
        if it.is_alone {
            text_of(&target.mappings, it.file)
        } else {
            evaluation.clone()
        }
    });
    Process {
        evaluation_start: evaluation.start,
        evaluation_size: evaluation.end.saturating_sub(evaluation.start),
        text_start: text.start,
        text_size: text.end.saturating_sub(text.start),
        ..bytemuck::Zeroable::zeroed()
    }
}

/// From the first to the last executable mapping of a file.
fn text_of(mappings: &[Mapping], file: FileId) -> Range<u64> {
    let of_file = mappings.iter().filter(|mapping| mapping.file == file);
    let addresses = of_file.map(|mapping| mapping.addresses.clone());
    let whole = addresses.reduce(|all, it| all.start.min(it.start)..all.end.max(it.end));
    whole.unwrap_or(0..0)
}

//! The facility of CPython: which interpreter a process runs, where it lies, and how its threads' states are found.

use std::{ops::Range, sync::Arc};

use profiler_common::{
    limits::MAX_LAYOUTS,
    python::{Process, PythonLayout},
};

use super::{
    detect::{Detection, Facts as FileFacts, detect},
    look::{PythonLook, PythonSeen},
    place::{Placed, place},
    thread_local::{Place, ThreadLocal, is_musl},
};
use crate::{
    health::{Health, Loss},
    targets::{
        FileId, Interpreter, Mapping, Target,
        facility::{Desk, Facility, Found, Next, Placement, Recognise, Why},
        look::{Answer, Part},
        registry::Known,
    },
};

/// What is kept of a process's CPython.
#[derive(Clone, Debug, Default)]
pub struct Python {
    /// The interpreter that is profiled.
    placed: Option<PlacedPython>,
    /// Why its interpreter is not profiled.
    pub unsupported: Option<String>,
    /// Where it counts the code objects it makes, and its main interpreter: addresses, 0 as long as they are not
    /// known.
    code_count: u64,
    main_interpreter: u64,
    /// Where its interpreter keeps the state that a thread has attached, and whether that was checked in its threads.
    pub thread_local: Option<Place>,
    is_thread_local_checked: bool,
    /// What the kernel was told.
    told: Option<Process>,
    /// Whether it was counted that there is no room for it: that is one loss, however often it shows.
    is_counted: bool,
}

/// A CPython in a process.
#[derive(Clone, Debug)]
struct PlacedPython {
    facts: Arc<FileFacts>,
    at: Placed,
    /// The index of its layout in the kernel's map.
    layout: u32,
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
    fn lacks_thread_local(&self) -> bool {
        let can_be_found = |facts: &Arc<FileFacts>| facts.thread_local.is_some();
        !self.is_thread_local_checked && self.facts().is_some_and(can_be_found)
    }

    /// There is no room for it.
    fn count(&mut self, health: &Health) {
        if !std::mem::replace(&mut self.is_counted, true) {
            health.count(Loss::ProcessTableFull);
        }
    }

    /// What the kernel is to know of it in a process.
    fn entry(&self, target: &Target) -> Process {
        let mut entry = Process {
            start_time: target.process.start_time,
            code_version: self.code_count,
            main_interpreter: self.main_interpreter,
            ..thread_facts(target)
        };
        if let Some(PlacedPython { at, layout, .. }) = &self.placed {
            entry.runtime = at.runtime;
            entry.code_type = at.code_type;
            entry.layout = *layout;
        }
        if let Some(place) = self.thread_local {
            place.note_in(&mut entry);
        }
        entry
    }
}

/// Which `CPython` each process runs.
#[derive(Debug, Default)]
pub struct PythonFacility {
    /// Layouts that the kernel knows, by their index there.
    layouts: Vec<PythonLayout>,
}

impl Facility for PythonFacility {
    fn recognise(&self) -> Recognise {
        |elf| match detect(elf) {
            Detection::NotPython => None,
            found => Some(Arc::new(found)),
        }
    }

    fn place(&mut self, process: &mut Known, found: &Found<'_>, desk: &mut Desk<'_>) -> Placement {
        let Some(detection) = found.facts::<Detection>() else {
            return Placement::Done;
        };
        let python = process.keep::<Python>();
        match &*detection {
            Detection::Found(facts) if python.placed.is_none() => {
                let Some(at) = place(facts, found.mapping) else {
                    return Placement::OtherMapping;
                };
                self.found(process, facts, at, found.mapping, desk);
            }
            Detection::Unsupported(reason) if python.unsupported.is_none() => {
                desk.health.count(Loss::ProcessUnsupported);
                python.unsupported = Some(reason.to_string());
            }
            _ => {}
        }
        Placement::Done
    }

    fn look(&self, process: &Known, _: Why) -> Option<Arc<dyn Part>> {
        let python = process.kept::<Python>()?;
        let PlacedPython { facts, at, .. } = python.placed.as_ref()?;
        let thread_local = facts
            .thread_local
            .filter(|_| python.lacks_thread_local())
            .map(|it| (it, is_musl(&process.target().mappings)));
        Some(Arc::new(PythonLook {
            facts: Arc::clone(facts),
            bias: at.bias,
            thread_local,
            counted: (python.main_interpreter, python.code_count),
        }))
    }

    fn learn(&mut self, process: &mut Known, answer: Answer, _: &mut Desk<'_>) -> Next {
        let pid = process.pid();
        let (Some(python), Ok(seen)) = (
            process.kept_mut::<Python>(),
            answer.downcast::<PythonSeen>(),
        ) else {
            return Next::Unchanged;
        };
        if seen.main_interpreter() != 0 {
            python.main_interpreter = seen.main_interpreter();
            python.code_count = seen.code_count;
        }
        if let Some(place) = seen.thread_local {
            let place = place.inspect_err(|reason| {
                tracing::debug!(%pid, %reason, "looked for the attached thread state");
            });
            python.thread_local = place.ok();
            python.is_thread_local_checked = python.thread_local.is_some();
        }
        if python.lacks_thread_local() {
            Next::Later
        } else {
            Next::Unchanged
        }
    }

    fn tell(&mut self, process: &mut Known, desk: &mut Desk<'_>) {
        if desk.whole_host && !process.is_profiled() {
            return;
        }
        let target = Arc::clone(process.target());
        let python = process.keep::<Python>();
        let entry = python.entry(&target);
        if python.told == Some(entry) {
            return;
        }
        match desk.control.set_process(target.process.pid, &entry) {
            Ok(()) => python.told = Some(entry),
            Err(error) => {
                python.count(desk.health);
                let pid = target.process.pid;
                tracing::warn!(%pid, %error, "cannot tell the kernel of a process");
            }
        }
    }

    fn forked(&mut self, child: &mut Known) -> Option<Why> {
        let python = child.kept_mut::<Python>()?;
        // What its parent lacked was counted for its parent.
        python.is_counted = false;
        // A look that its parent is still to have is not the child's.
        python.lacks_thread_local().then_some(Why::Imports)
    }

    fn no_room(&mut self, process: &mut Known, desk: &mut Desk<'_>) {
        process.change().interpreter = None;
        let python = process.keep::<Python>();
        python.count(desk.health);
        *python = Python {
            unsupported: Some("more processes than --max-processes allows".to_owned()),
            is_counted: true,
            ..Python::default()
        };
    }

    fn ended(&mut self, process: &Known, next: Option<&mut Known>, _: &mut Desk<'_>) {
        // An exec makes another of it that is still the same process.
        if let Some(next) = next.filter(|next| next.process() == process.process())
            && process.kept::<Python>().is_some_and(|it| it.is_counted)
        {
            next.keep::<Python>().is_counted = true;
        }
    }
}

impl PythonFacility {
    fn found(
        &mut self,
        process: &mut Known,
        facts: &Arc<FileFacts>,
        at: Placed,
        mapping: &Mapping,
        desk: &mut Desk<'_>,
    ) {
        let Some(layout) = self.layout(&facts.layout, desk) else {
            desk.health.count(Loss::ProcessUnsupported);
            let reason = "too many layouts, or the kernel refused it";
            process.keep::<Python>().unsupported = Some(reason.to_owned());
            return;
        };
        process.change().interpreter = Some(Arc::new(Interpreter {
            version: facts.version,
            file: mapping.file,
            path: mapping.path.clone(),
            build_id: facts.build_id.clone(),
            evaluation_loop: at.evaluation_loop.clone(),
            is_alone: facts.is_alone,
        }));
        let python = process.keep::<Python>();
        // Of a program it is known from the file; else its loader places it. Either is checked.
        python.is_thread_local_checked = false;
        python.thread_local = match facts.thread_local {
            Some(ThreadLocal::Offset(offset)) => Some(Place::Offset(offset)),
            _ => None,
        };
        python.placed = Some(PlacedPython {
            facts: Arc::clone(facts),
            at,
            layout,
        });
    }

    /// The index of a layout, made known to the kernel when it is new.
    fn layout(&mut self, layout: &PythonLayout, desk: &mut Desk<'_>) -> Option<u32> {
        if let Some(index) = self.layouts.iter().position(|it| it == layout) {
            return u32::try_from(index).ok();
        }
        let index = u32::try_from(self.layouts.len()).ok()?;
        if index >= MAX_LAYOUTS {
            return None;
        }
        if let Err(error) = desk.control.set_layout(index, layout) {
            tracing::warn!(%error, "cannot make a layout known");
            return None;
        }
        self.layouts.push(*layout);
        Some(index)
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

//! The facility of CPython: which interpreter a process runs, where it lies, and how its threads' states are found.

use std::{collections::BTreeSet, sync::Arc};

use profiler_common::{limits::MAX_LAYOUTS, python::PythonLayout};

use super::{
    detect::{Detection, Facts as FileFacts, Unsupported, detect},
    implementation,
    look::{PythonLook, PythonSeen},
    place::{Placed, code, place},
    process::{PlacedPython, Python},
    thread_local::{Place, ThreadLocal, is_musl},
};
use crate::{
    health::Loss,
    targets::{
        Interpreter, Mapping,
        facility::{Desk, Facility, Found, Next, Placement, Recognise, Why},
        look::{Answer, Part},
        mappings::put_back,
        registry::Known,
    },
};

/// Which `CPython` each process runs.
#[derive(Debug, Default)]
pub struct PythonFacility {
    /// Layouts that the kernel knows, by their index there.
    layouts: Vec<PythonLayout>,
    /// Why processes are not profiled, as far as that was said; `None` if nobody wants to hear it.
    said: Option<BTreeSet<String>>,
}

impl PythonFacility {
    /// One that knows nothing yet; `says`: whether it warns of what cannot be profiled.
    pub fn new(says: bool) -> Self {
        Self {
            layouts: Vec::new(),
            said: says.then(BTreeSet::new),
        }
    }
}

impl Facility for PythonFacility {
    fn recognise(&self) -> Recognise {
        |elf| match detect(elf) {
            Detection::NotPython => None,
            found => Some(Arc::new(found)),
        }
    }

    fn place(&mut self, process: &mut Known, found: &Found<'_>, desk: &mut Desk<'_>) -> Placement {
        let detection = match found.facts::<Detection>() {
            Some(detection) => detection,
            None => match by_name(found) {
                Some(reason) => Arc::new(Detection::Unsupported(reason)),
                None => return Placement::Done,
            },
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
                python.count(desk.health, Loss::ProcessUnsupported);
                let reason = reason.to_string();
                python.unsupported = Some(reason.clone());
                self.say(process, reason);
            }
            _ => {}
        }
        Placement::Done
    }

    /// A program may move its interpreter's code to memory of its own, for the sake of huge pages: it is the same code
    /// at the same addresses, and so it is shown.
    fn mapped(&self, process: &mut Known) {
        let target = process.target();
        let (Some(interpreter), Some(placed)) = (
            &target.interpreter,
            process.kept::<Python>().and_then(|it| it.placed.as_ref()),
        ) else {
            return;
        };
        let (segments, bias) = (&placed.facts.segments, placed.at.bias);
        let code = code(segments, bias, interpreter.file, &interpreter.path);
        let shown = |mappings: Vec<Mapping>, segment: &Mapping| put_back(&mappings, segment);
        let mappings = code.iter().fold(target.mappings.to_vec(), shown);
        if *target.mappings != *mappings {
            process.change().mappings = Arc::from(mappings);
        }
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
        python.globals = seen.globals.or(python.globals);
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
        if python.is_incomplete() {
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
                python.count(desk.health, Loss::ProcessTableFull);
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
        python.is_incomplete().then_some(Why::Imports)
    }

    fn no_room(&mut self, process: &mut Known, desk: &mut Desk<'_>) {
        process.change().interpreter = None;
        let python = process.keep::<Python>();
        python.count(desk.health, Loss::ProcessTableFull);
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

/// What a file is called tells of an interpreter that is not recognised by what is in the file.
fn by_name(found: &Found<'_>) -> Option<Unsupported> {
    let path = &found.mapping.path;
    if let Some(name) = implementation::by_name(path) {
        return Some(Unsupported::Implementation(name));
    }
    let unreadable = || found.state.err().filter(|error| error.is_permanent());
    implementation::is_cpython(path)
        .then(unreadable)?
        .map(|error| Unsupported::Unreadable(Arc::clone(path), error.clone()))
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
        python.globals = None;
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

    /// Warns of a process that cannot be profiled: once for each reason, as there may be many like it.
    fn say(&mut self, process: &Known, reason: String) {
        let pid = process.pid();
        if let Some(said) = &mut self.said
            && !said.contains(&reason)
        {
            tracing::warn!("process {pid} is not profiled: {reason}");
            said.insert(reason);
        }
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

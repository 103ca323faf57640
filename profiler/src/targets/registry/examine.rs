//! Looking into one process, and telling the kernel what was found.

use std::{ops::Range, sync::Arc};

use profiler_common::{
    limits::MAX_LAYOUTS,
    python::{Process, PythonLayout},
};

use super::{Known, Scope, Targets, hooks::HookFile, sdk};
use crate::{
    health::Loss,
    id::{Pid, ProcessKey},
    targets::{
        FileId, Interpreter, Mapping, mappings,
        probe::Hook,
        python::{
            detect::{Detection, Facts},
            place::place,
            thread_local::{Place, ThreadLocal},
        },
    },
    time::BootNanos,
};

/// Files looked at in one process.
const MAX_FILES: usize = 4096;

impl Targets {
    /// Looks at the files of a process that were not looked at yet.
    pub(super) fn examine(&mut self, process: ProcessKey, now: BootNanos) {
        let pid = process.pid;
        let Ok(mappings) = mappings::read(pid) else {
            return;
        };
        // A kernel thread maps nothing.
        if mappings.is_empty() {
            return;
        }
        let known = self.processes.get(&pid).cloned();
        // An exec whose notice was lost: the interpreter's file is mapped no more.
        let still = |known: &Known| {
            let interpreter = known.target.interpreter.as_ref();
            interpreter.is_none_or(|it| mappings.iter().any(|mapping| mapping.file == it.file))
        };
        let known = known.filter(|known| known.target.process == process && still(known));
        let is_new = known.is_none();
        let mut known = known.unwrap_or_else(|| Known::new(process));
        let had = known.target.interpreter.is_some();
        if *known.target.mappings != *mappings {
            known.change().mappings = Arc::from(mappings.as_slice());
        }
        known.refreshed = now;
        for mapping in &mappings {
            let new = mapping.file.inode != 0 && known.seen.len() < MAX_FILES;
            if new && known.seen.insert(mapping.file) {
                if known.sdk.is_none() && sdk::is_library(&mapping.path) {
                    known.sdk = Some(sdk::Sdk::loaded(now));
                }
                self.examine_file(&mut known, mapping);
            }
        }
        let found = known.target.interpreter.is_some();
        let is_profiled = found || self.scope != Scope::Host;
        if is_profiled && (is_new || found != had) {
            known.name_owner(&self.told_apart);
        }
        if !found && self.scope == Scope::Host {
            // Nobody asks for the addresses of what is not profiled.
            known.change().mappings = Arc::from([]);
        }
        self.insert(pid, known);
        self.ask_for_recipe(pid, None);
        self.note_spans_seen(pid, false);
        if is_new || found != had {
            self.tell(pid);
        }
    }

    fn examine_file(&mut self, known: &mut Known, mapping: &Mapping) {
        let Some((facts, file)) = self.files.facts(known.target.process.pid, mapping) else {
            return;
        };
        if facts.python == Detection::NotPython && facts.hook == Hook::Absent {
            self.discovery.is_plain(mapping.file);
        }
        match &facts.python {
            Detection::Found(python) if known.target.interpreter.is_none() => {
                self.found(known, python, mapping);
            }
            Detection::Unsupported(reason) if known.unsupported.is_none() => {
                self.refuse(known, reason.to_string());
            }
            _ => {}
        }
        match &facts.hook {
            Hook::Absent => return,
            Hook::Present(facts) => {
                known.hook_file = Some(HookFile::new(file.state, mapping, facts));
            }
            Hook::Refused(reason) => {
                let loss = Loss::HookUnsupported;
                self.refuse_hook(file.state, mapping, loss, &reason.to_string(), None);
            }
        }
        known.hook = Some(facts.hook.clone());
    }

    fn found(&mut self, known: &mut Known, facts: &Arc<Facts>, mapping: &Mapping) {
        let Some(placed) = place(facts, mapping) else {
            // Another mapping of the same file may tell where it lies.
            known.seen.remove(&mapping.file);
            return;
        };
        let Some(layout) = self.layout(&facts.layout) else {
            return self.refuse(
                known,
                "too many layouts, or the kernel refused it".to_owned(),
            );
        };
        known.layout = layout;
        known.bias = placed.bias;
        known.runtime = placed.runtime;
        known.code_type = placed.code_type;
        // Of a program it is known from the file; else its loader places it. Either is checked.
        known.is_thread_local_checked = false;
        known.thread_local = match facts.thread_local {
            Some(ThreadLocal::Offset(offset)) => Some(Place::Offset(offset)),
            _ => None,
        };
        known.facts = Some(facts.clone());
        known.change().interpreter = Some(Arc::new(Interpreter {
            version: facts.version,
            file: mapping.file,
            path: mapping.path.clone(),
            evaluation_loop: placed.evaluation_loop,
            is_alone: facts.is_alone,
        }));
    }

    fn refuse(&self, known: &mut Known, reason: String) {
        self.health.count(Loss::ProcessUnsupported);
        known.unsupported = Some(reason);
    }

    /// The index of a layout, made known to the kernel when it is new.
    fn layout(&mut self, layout: &PythonLayout) -> Option<u32> {
        if let Some(index) = self.layouts.iter().position(|it| it == layout) {
            return u32::try_from(index).ok();
        }
        let index = u32::try_from(self.layouts.len()).ok()?;
        if index >= MAX_LAYOUTS {
            return None;
        }
        if let Err(error) = self.control.set_layout(index, layout) {
            tracing::warn!(%error, "cannot make a layout known");
            return None;
        }
        self.layouts.push(*layout);
        Some(index)
    }

    /// Tells the kernel what is known of a process, or that it is not profiled.
    pub(super) fn tell(&mut self, pid: Pid) {
        let Some(known) = self.processes.get(&pid) else {
            return;
        };
        if known.runtime == 0 && self.scope == Scope::Host {
            if let Err(error) = self.control.remove_process(pid) {
                tracing::warn!(%pid, %error, "cannot tell the kernel that a process is not profiled");
            }
            return;
        }
        let told = {
            let process = Process {
                start_time: known.target.process.start_time,
                runtime: known.runtime,
                code_type: known.code_type,
                code_version: known.code_count,
                main_interpreter: known.main_interpreter,
                layout: known.layout,
                generation: 0,
                ..thread_facts(known)
            };
            self.control.set_process(pid, &process)
        };
        if let Err(error) = told {
            if let Some(known) = self.processes.get_mut(&pid) {
                known.counted.not_profiled(&self.health);
            }
            tracing::warn!(%pid, %error, "cannot tell the kernel of a process");
        }
    }
}

/// What tells which thread state a thread runs in.
fn thread_facts(known: &Known) -> Process {
    let interpreter = known.target.interpreter.as_ref();
    let evaluation = interpreter.map_or(0..0, |it| it.evaluation_loop.clone());
    // Where other code is in the file, only the loop is known to be the interpreter's.
    let text = interpreter.map_or(0..0, |it| {
        if it.is_alone {
            text_of(&known.target.mappings, it.file)
        } else {
            evaluation.clone()
        }
    });
    let mut process = Process {
        evaluation_start: evaluation.start,
        evaluation_size: evaluation.end.saturating_sub(evaluation.start),
        text_start: text.start,
        text_size: text.end.saturating_sub(text.start),
        ..bytemuck::Zeroable::zeroed()
    };
    if let Some(place) = known.thread_local {
        place.note_in(&mut process);
    }
    process
}

/// From the first to the last executable mapping of a file.
fn text_of(mappings: &[Mapping], file: FileId) -> Range<u64> {
    let of_file = mappings.iter().filter(|mapping| mapping.file == file);
    let addresses = of_file.map(|mapping| mapping.addresses.clone());
    let whole = addresses.reduce(|all, it| all.start.min(it.start)..all.end.max(it.end));
    whole.unwrap_or(0..0)
}

//! The stage: one sample in, one named sample out.

use std::{collections::BTreeSet, num::NonZeroUsize, sync::Arc};

use profiler_common::outcome::Outcome;

use super::{
    Frame, FrameKind, MappedFile, NamedSample,
    kernel::KernelFrames,
    merge::{self, Place},
    native::NativeFrames,
    python::{PythonFrames, marker},
    stacks::{Key, Named, Stacks},
};
use crate::{
    events::{Code, ProcessChange, ProcessNotice, Stack},
    health::{Health, Loss},
    id::{Pid, ProcessKey},
    join::SpanSample,
    targets::{FileId, Interpreter, Mapping, Snapshot, Target},
};

/// Bounds of what is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Code objects, over all processes. More than the kernel side remembers having shipped, or
    /// one that is forgotten here would never come again.
    pub max_codes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_codes: 65_536 }
    }
}

/// Names samples.
#[derive(Debug)]
pub struct Symbolizer {
    stacks: Stacks,
    python: PythonFrames,
    native: NativeFrames,
    kernel: KernelFrames,
    stale: BTreeSet<Pid>,
    nowhere: Arc<MappedFile>,
    health: Health,
}

impl Symbolizer {
    /// Knows nothing yet.
    pub fn new(settings: Settings, health: Health) -> Self {
        let max_codes = NonZeroUsize::new(settings.max_codes).unwrap_or(NonZeroUsize::MIN);
        Self {
            stacks: Stacks::default(),
            python: PythonFrames::new(max_codes, health.clone()),
            native: NativeFrames::new(health.clone()),
            kernel: KernelFrames::new(health.clone()),
            stale: BTreeSet::new(),
            nowhere: Arc::new(MappedFile {
                path: "[unknown]".into(),
                build_id: String::new(),
            }),
            health,
        }
    }

    /// A code object was seen for the first time.
    pub fn code(&mut self, code: Code) {
        self.python.learn(code);
    }

    /// A process has come, changed or gone. A forked child's code objects are shipped anew.
    pub fn process(&mut self, notice: &ProcessNotice) {
        match notice.what {
            ProcessChange::Fork { .. } => {}
            ProcessChange::Exec | ProcessChange::Exit => {
                self.python.forget(notice.pid);
                self.stacks.forget(notice.pid);
            }
        }
    }

    /// Names a sample; `None` (and a count) where its process is not profiled.
    pub fn symbolize(&mut self, sample: SpanSample, snapshot: &Snapshot) -> Option<NamedSample> {
        let SpanSample {
            sample,
            attribution,
        } = sample;
        let Some(target) = snapshot.target(sample.process) else {
            self.health.count(Loss::SampleOutsideTargets);
            return None;
        };
        let key = Key {
            process: sample.process,
            stack: sample.stack,
        };
        let named = self.stacks.get(&key, target).unwrap_or_else(|| {
            let named = self.name(&key, target);
            self.stacks.put(key, target, &named);
            named
        });
        for &flaw in &*named.flaws {
            self.health.count(flaw);
        }
        Some(NamedSample {
            time: sample.time,
            service: Arc::clone(&target.service),
            container: target.container.clone(),
            pid: sample.process.pid,
            tid: sample.tid,
            thread_name: sample.thread_name,
            attribution,
            stack: named.frames,
        })
    }

    /// Processes that ran code in no mapping that is known, since the last call.
    pub fn take_stale_mappings(&mut self) -> Vec<Pid> {
        std::mem::take(&mut self.stale).into_iter().collect()
    }

    fn name(&mut self, key: &Key, target: &Target) -> Named {
        let Key { process, stack } = key;
        let mut naming = Naming::default();
        for &address in &stack.kernel {
            naming.frames.push(self.kernel.frame(address));
        }
        self.native(stack, target, &mut naming);
        self.python(*process, stack, target, &mut naming);
        if naming.frames.is_empty() {
            naming.frames.push(marker("[no frames]", &self.nowhere));
        }
        Named {
            frames: naming.frames.into(),
            flaws: naming.flaws.into(),
        }
    }

    fn native(&mut self, stack: &Stack, target: &Target, naming: &mut Naming) {
        let all = &stack.native;
        let has_python = !stack.python.is_empty();
        let range = if has_python {
            let places: Vec<_> = (0..all.len())
                .map(|index| place(lookup(all, index), target))
                .collect();
            let shown = merge::shown(&places);
            if shown.hidden {
                naming.flaws.push(Loss::NativeHidden);
            }
            shown.range
        } else {
            0..all.len()
        };
        for index in range {
            let frame = self.native_frame(lookup(all, index), target, &mut naming.flaws);
            naming.frames.push(frame);
        }
        if !has_python && !all.is_empty() {
            self.mark(stack.native_outcome, &mut naming.frames);
        }
    }

    fn native_frame(&mut self, address: u64, target: &Target, flaws: &mut Vec<Loss>) -> Arc<Frame> {
        let pid = target.process.pid;
        if let Some(mapping) = target.mapping(address) {
            let kind = kind(mapping, target);
            return self.native.frame(pid, address, mapping, kind);
        }
        self.stale.insert(pid);
        flaws.push(Loss::NativeUnknown);
        marker("[unknown mapping]", &self.nowhere)
    }

    fn python(&mut self, process: ProcessKey, stack: &Stack, target: &Target, naming: &mut Naming) {
        if stack.python.is_empty() {
            return;
        }
        let (file, mapping) = self.interpreter(target);
        let Naming { frames, flaws } = naming;
        for &frame in &stack.python {
            frames.extend(self.python.frame(process, frame, (file, &mapping), flaws));
        }
        self.mark(stack.python_outcome, frames);
    }

    /// The file that Python frames are said to be in.
    fn interpreter(&mut self, target: &Target) -> (FileId, Arc<MappedFile>) {
        let Some(interpreter) = &target.interpreter else {
            return (
                FileId {
                    device: 0,
                    inode: 0,
                },
                Arc::clone(&self.nowhere),
            );
        };
        let mapping = target
            .mappings
            .iter()
            .find(|mapping| mapping.file == interpreter.file);
        let mapped = match mapping {
            Some(mapping) => self.native.mapped_file(target.process.pid, mapping),
            None => Arc::clone(&self.nowhere),
        };
        (interpreter.file, mapped)
    }

    /// Says at the root of the stack that it was cut, and why.
    fn mark(&self, outcome: Outcome, stack: &mut Vec<Arc<Frame>>) {
        let text = outcome.marker();
        if !text.is_empty() {
            stack.push(marker(text, &self.nowhere));
        }
    }
}

/// A stack that is being named.
#[derive(Default)]
struct Naming {
    frames: Vec<Arc<Frame>>,
    flaws: Vec<Loss>,
}

/// The address to look up for a frame: of the leaf the interrupted instruction, of the others the
/// call before the return address, which may be a function's last instruction.
fn lookup(addresses: &[u64], index: usize) -> u64 {
    let address = addresses.get(index).copied().unwrap_or(0);
    if index == 0 {
        address
    } else {
        address.saturating_sub(1)
    }
}

/// Whether code of a mapping is the interpreter's machinery. Where the program that embeds it is in the same
/// file, nobody can tell whose the code is.
fn kind(mapping: &Mapping, target: &Target) -> FrameKind {
    match &target.interpreter {
        Some(it) if it.is_alone && it.file == mapping.file => FrameKind::Interpreter,
        _ => FrameKind::Native,
    }
}

fn place(address: u64, target: &Target) -> Place {
    let Some(interpreter) = &target.interpreter else {
        return Place::Elsewhere;
    };
    let Interpreter {
        file,
        evaluation_loop,
        ..
    } = interpreter.as_ref();
    if evaluation_loop.contains(&address) {
        return Place::EvaluationLoop;
    }
    match target.mapping(address) {
        Some(mapping) if mapping.file == *file => Place::Interpreter,
        _ => Place::Elsewhere,
    }
}

//! The stage: one sample in, one named sample out.

use std::{collections::BTreeSet, num::NonZeroUsize, sync::Arc};

use profiler_common::{limits::OUTERMOST_FRAMES, outcome::Outcome};

use super::{
    FrameKind, MappedFile, NamedSample,
    kernel::KernelFrames,
    merge::{self, Place},
    naming::Naming,
    native::{self, NativeFrames},
    python::{PythonFrames, marker},
    stacks::{Key, Named, Stacks},
    waiting::{Slot, Waiting},
};
use crate::{
    events::{Code, LineTablePart, ProcessChange, ProcessNotice, Stack},
    health::{Health, Loss},
    id::{Pid, ProcessKey},
    join::SpanSample,
    targets::{
        FileId, Interpreter, Mapping, Target,
        symbols::{FileSymbols, Wanted},
    },
    time::BootNanos,
};

/// Bounds of what is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Code objects, over all processes. More than the kernel side remembers having shipped: otherwise one that is
    /// forgotten here would never come again.
    pub max_codes: usize,
}

/// Names samples.
#[derive(Debug)]
pub struct Symbolizer {
    stacks: Stacks,
    python: PythonFrames,
    native: NativeFrames,
    kernel: KernelFrames,
    waiting: Waiting,
    /// The time of the current turn.
    now: BootNanos,
    stale: BTreeSet<Pid>,
    nowhere: Arc<MappedFile>,
    health: Health,
}

impl Symbolizer {
    /// A symbolizer that knows nothing yet.
    pub fn new(settings: Settings, health: Health) -> Self {
        let max_codes = NonZeroUsize::new(settings.max_codes).unwrap_or(NonZeroUsize::MIN);
        Self {
            stacks: Stacks::default(),
            python: PythonFrames::new(max_codes, health.clone()),
            native: NativeFrames::new(),
            kernel: KernelFrames::new(health.clone()),
            waiting: Waiting::new(health.clone()),
            now: BootNanos(0),
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

    /// The line table of a code object goes on. If it is whole now, stacks that lacked its lines are named anew.
    pub fn line_table(&mut self, part: &LineTablePart) {
        let pid = part.process.pid;
        if self.python.learn_lines(part) {
            self.stacks.forget(pid);
        }
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

    /// Names a sample of a target; `None` if it waits for the symbols of a file: [`Self::take_waiting`] returns it
    /// later.
    pub fn symbolize(&mut self, sample: SpanSample, target: &Arc<Target>) -> Option<NamedSample> {
        let SpanSample {
            sample,
            attribution,
        } = sample;
        let omitted = u64::from(sample.python_frames_omitted);
        self.health.add(Loss::PythonFrameOmitted, omitted);
        let key = Key {
            process: sample.process,
            stack: sample.stack,
        };
        let named = |stack| NamedSample {
            time: sample.time,
            measure: sample.measure,
            service: Arc::clone(&target.service),
            container: target.container.clone(),
            pid: sample.process.pid,
            tid: sample.tid,
            thread_name: sample.thread_name,
            attribution,
            stack,
        };
        let ready = match self.stack(key, target) {
            Ok(ready) => ready,
            Err(Naming { slots, flaws }) => {
                return self.waiting.hold(named(Arc::from([])), slots, flaws);
            }
        };
        for &flaw in &*ready.flaws {
            self.health.count(flaw);
        }
        Some(named(ready.frames))
    }

    /// Begins a turn: samples wait until some time after this.
    pub fn turn(&mut self, now: BootNanos) {
        self.now = now;
    }

    /// Samples that have waited and are named now, or have waited long enough.
    pub fn take_waiting(&mut self) -> Vec<NamedSample> {
        self.waiting.take(&mut self.native, self.now)
    }

    /// Whether samples wait for the symbols of a file.
    pub fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Files whose symbols are wanted, since this was last called.
    pub fn take_wanted(&mut self) -> Vec<Wanted> {
        self.native.take_wanted()
    }

    /// Stores the result of reading a file.
    pub fn learn_symbols(&mut self, wanted: &Wanted, symbols: FileSymbols) {
        self.native.learn(wanted, symbols, self.now);
    }

    /// Processes that ran code outside all known mappings, since the last call.
    pub fn take_stale_mappings(&mut self) -> Vec<Pid> {
        std::mem::take(&mut self.stale).into_iter().collect()
    }

    /// The names of a stack, unless some of them are still to come.
    fn stack(&mut self, key: Key, target: &Arc<Target>) -> Result<Named, Naming> {
        if let Some(ready) = self.stacks.get(&key, target) {
            return Ok(ready);
        }
        let ready = self.name(&key, target).ready()?;
        self.stacks.put(key, target, &ready);
        Ok(ready)
    }

    fn name(&mut self, key: &Key, target: &Target) -> Naming {
        let Key { process, stack } = key;
        let mut naming = Naming::default();
        for &address in &stack.kernel {
            naming.push(self.kernel.frame(address));
        }
        self.native(stack, target, &mut naming);
        self.python(*process, stack, target, &mut naming);
        if naming.slots.is_empty() {
            naming.push(marker("[no frames]", &self.nowhere));
        }
        naming
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
            self.native_frame(lookup(all, index), target, naming);
        }
        if !has_python && !all.is_empty() {
            self.mark(stack.native_outcome, naming);
        }
    }

    fn native_frame(&mut self, address: u64, target: &Target, naming: &mut Naming) {
        let pid = target.process.pid;
        let Some(mapping) = target.mapping(address) else {
            self.stale.insert(pid);
            naming.flaws.push(Loss::NativeNoMapping);
            naming.push(marker("[unknown mapping]", &self.nowhere));
            return;
        };
        let kind = kind(mapping, target);
        match self.native.frame(pid, address, mapping, kind, self.now) {
            Ok((frame, reason)) => {
                naming.flaws.extend(reason.map(native::loss));
                naming.push(frame);
            }
            Err(place) => naming.slots.push(Slot::Waits(place)),
        }
    }

    fn python(&mut self, process: ProcessKey, stack: &Stack, target: &Target, naming: &mut Naming) {
        if stack.python.is_empty() {
            return;
        }
        let (file, mapping) = self.interpreter(target);
        let gap = stack.python.len().saturating_sub(OUTERMOST_FRAMES);
        for (index, &frame) in stack.python.iter().enumerate() {
            if index == gap && stack.python_gap != 0 {
                naming.flaws.push(Loss::PythonMiddleOmitted);
                naming.push(marker(&gap_name(stack.python_gap), &self.nowhere));
            }
            let flaws = &mut naming.flaws;
            let named = self.python.frame(process, frame, (file, &mapping), flaws);
            naming.slots.extend(named.map(Slot::Ready));
        }
        self.mark(stack.python_outcome, naming);
    }

    /// The file that Python frames are shown in.
    fn interpreter(&mut self, target: &Target) -> (FileId, Arc<MappedFile>) {
        if let Some(interpreter) = &target.interpreter {
            return (interpreter.file, self.native.interpreter(interpreter));
        }
        let nowhere = FileId {
            device: 0,
            inode: 0,
        };
        (nowhere, Arc::clone(&self.nowhere))
    }

    /// Marks the root of the stack as cut, with the reason.
    fn mark(&self, outcome: Outcome, naming: &mut Naming) {
        let text = outcome.marker();
        if !text.is_empty() {
            naming.push(marker(text, &self.nowhere));
        }
    }
}

/// What stands for the frames that a stack lacks in its middle: their number, rounded down to a power of two.
fn gap_name(at_least: u16) -> String {
    match at_least {
        1 => "[1 frame left out]".to_owned(),
        _ => format!(
            "[{at_least}-{} frames left out]",
            2 * u32::from(at_least) - 1
        ),
    }
}

/// The address to look up for a frame: the interrupted instruction of the leaf; for the others the call before the
/// return address, because that may be the first byte after its function.
fn lookup(addresses: &[u64], index: usize) -> u64 {
    let address = addresses.get(index).copied().unwrap_or(0);
    if index == 0 {
        address
    } else {
        address.saturating_sub(1)
    }
}

/// Whether code of a mapping is the interpreter's machinery. If the program that embeds the interpreter is in the same
/// file, their code cannot be told apart.
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

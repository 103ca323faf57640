//! What the control plane asks of the kernel side, done through aya.

use std::{collections::HashMap as Table, io::ErrorKind, os::fd::BorrowedFd};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, MapError},
};
use profiler_common::{
    context::{InterpreterKey, SpanRecipe},
    python::{Process, PythonLayout},
    span::{LiveSpan, LiveSpanKey, SpanStack},
};

use super::{
    Control, ControlError, InterpreterId, Settings, SpanProbeSites, SpanProbes,
    error::{LoadError, error_chain},
    probes::{self, Attached, NoRoute, Probes, Route},
    program::take,
    sampling::SamplingPrograms,
};
use crate::{id::Pid, measure::Measure};

/// Elements of a map looked at when spans are forgotten: as many as the largest may have.
const MAX_FORGOTTEN: usize = 1_000_000;

/// The maps and programs behind [`Control`]. Dropping it detaches everything.
pub struct KernelControl {
    ebpf: Ebpf,
    layouts: Array<MapData, PythonLayout>,
    processes: HashMap<MapData, u32, Process>,
    recipes: HashMap<MapData, u32, SpanRecipe>,
    interpreter_recipes: HashMap<MapData, InterpreterKey, SpanRecipe>,
    live_spans: HashMap<MapData, LiveSpanKey, LiveSpan>,
    span_stacks: HashMap<MapData, u32, SpanStack>,
    /// Span programs on the sites of files, and how they get there.
    attached: Table<SpanProbes, Attached>,
    probes: Probes,
    sampling: SamplingPrograms,
    next_probes: u64,
    /// Whether the probes of earlier packages would crash forked children.
    calls_crash_children: bool,
    /// What was written last, to tell a new incarnation from the same facts written again.
    written: Table<Pid, Process>,
    next_generation: u32,
    /// What a tick of the sampling clock stands for.
    tick: Measure,
    /// Writes the programs' log for as long as they live.
    _log: Option<super::log::BpfLog>,
}

impl KernelControl {
    pub(super) fn new(
        mut ebpf: Ebpf,
        sampling: SamplingPrograms,
        probes: Probes,
        settings: &Settings,
        calls_crash_children: bool,
    ) -> Result<Self, LoadError> {
        let log = settings
            .debug
            .then(|| super::log::BpfLog::start(&mut ebpf))
            .flatten();
        Ok(Self {
            layouts: take(&mut ebpf, "LAYOUTS", Array::try_from)?,
            processes: take(&mut ebpf, "PROCESSES", HashMap::try_from)?,
            recipes: take(&mut ebpf, "SPAN_RECIPES", HashMap::try_from)?,
            interpreter_recipes: take(&mut ebpf, "INTERPRETER_RECIPES", HashMap::try_from)?,
            live_spans: take(&mut ebpf, "LIVE_SPANS", HashMap::try_from)?,
            span_stacks: take(&mut ebpf, "SPAN_STACKS", HashMap::try_from)?,
            ebpf,
            attached: Table::new(),
            probes,
            sampling,
            tick: settings.tick,
            next_probes: 1,
            calls_crash_children,
            written: Table::new(),
            next_generation: 1,
            _log: log,
        })
    }

    /// By which of the kernel's ways span probes would be put on; on an error by none, and why.
    pub fn find_probe_route(&mut self) -> Result<Route, NoRoute> {
        self.probes.find_route(&mut self.ebpf)
    }
}

impl Drop for KernelControl {
    /// Taking off a probe takes the kernel tens of milliseconds. So sampling stops first, or the
    /// last samples would see spans that start and never end; then starts, and ends last.
    fn drop(&mut self) {
        self.sampling.stop(&mut self.ebpf);
        probes::unload(&mut self.ebpf, self.attached.drain().map(|(_, it)| it));
    }
}

impl Control for KernelControl {
    fn start_sampling(&mut self) -> Result<(), ControlError> {
        self.sampling
            .start(&mut self.ebpf, self.tick.nanos)
            .map_err(|error| ControlError::Clock(error_chain(&error)))
    }

    fn set_layout(&mut self, index: u32, layout: &PythonLayout) -> Result<(), ControlError> {
        self.layouts
            .set(index, layout, 0)
            .map_err(|error| refused("LAYOUTS", &error))
    }

    fn set_process(&mut self, pid: Pid, process: &Process) -> Result<(), ControlError> {
        let mut process = *process;
        // Where code objects are counted, and where threads keep their states, says nothing of whose memory it is.
        let identity = |process: &Process| Process {
            generation: 0,
            code_version: 0,
            main_interpreter: 0,
            thread_local: 0,
            thread_local_module: 0,
            thread_local_entry: 0,
            hands_states_over: 0,
            ..*process
        };
        match self.written.get(&pid) {
            Some(before) if identity(before) == identity(&process) => {
                process.generation = before.generation;
                // What the kernel programs have found out since stays.
                let there = self.processes.get(&pid.0, 0);
                process.hands_states_over = there.map_or(0, |it| it.hands_states_over);
            }
            _ => {
                process.generation = self.next_generation;
                self.next_generation = self.next_generation.wrapping_add(1);
            }
        }
        self.processes
            .insert(&pid.0, &process, 0)
            .map_err(|error| refused("PROCESSES", &error))?;
        self.written.insert(pid, process);
        Ok(())
    }

    fn remove_process(&mut self, pid: Pid) -> Result<(), ControlError> {
        self.written.remove(&pid);
        removed("SPAN_RECIPES", self.recipes.remove(&pid.0))?;
        removed("PROCESSES", self.processes.remove(&pid.0))
    }

    fn set_span_recipe(
        &mut self,
        pid: Pid,
        recipe: Option<&SpanRecipe>,
    ) -> Result<(), ControlError> {
        match recipe {
            Some(recipe) => self
                .recipes
                .insert(&pid.0, recipe, 0)
                .map_err(|error| refused("SPAN_RECIPES", &error)),
            None => removed("SPAN_RECIPES", self.recipes.remove(&pid.0)),
        }
    }

    fn set_interpreter_recipe(
        &mut self,
        pid: Pid,
        InterpreterId { address, id }: InterpreterId,
        recipe: Option<&SpanRecipe>,
    ) -> Result<(), ControlError> {
        let key = InterpreterKey {
            address,
            id,
            tgid: pid.0,
            reserved: 0,
        };
        match recipe {
            Some(recipe) => self
                .interpreter_recipes
                .insert(&key, recipe, 0)
                .map_err(|error| refused("INTERPRETER_RECIPES", &error)),
            None => removed("INTERPRETER_RECIPES", self.interpreter_recipes.remove(&key)),
        }
    }

    fn attach_span_probes(
        &mut self,
        file: BorrowedFd<'_>,
        sites: &SpanProbeSites,
    ) -> Result<SpanProbes, ControlError> {
        if sites.on_long_nops && self.calls_crash_children {
            return Err(ControlError::CallsCrashChildren);
        }
        let attached = self
            .probes
            .attach(&mut self.ebpf, file, sites)
            .map_err(ControlError::Probe)?;
        let probes = SpanProbes(self.next_probes);
        self.next_probes += 1;
        self.attached.insert(probes, attached);
        Ok(probes)
    }

    fn detach_span_probes(&mut self, probes: SpanProbes) {
        if let Some(attached) = self.attached.remove(&probes) {
            probes::detach(&mut self.ebpf, attached);
        }
    }

    fn forget_spans(&mut self, keep: &dyn Fn(Pid) -> bool) {
        // A walk over a map that changes meanwhile may start over: bounded.
        let spans: Vec<LiveSpanKey> = self
            .live_spans
            .keys()
            .filter_map(Result::ok)
            .take(MAX_FORGOTTEN)
            .filter(|key| !keep(Pid(key.tgid)))
            .collect();
        for key in spans {
            // Gone already: as good.
            let _ = self.live_spans.remove(&key);
        }
        let stacks: Vec<u32> = self
            .span_stacks
            .iter()
            .filter_map(Result::ok)
            .take(MAX_FORGOTTEN)
            .filter(|(_, stack)| !keep(Pid(stack.tgid)))
            .map(|(tid, _)| tid)
            .collect();
        for tid in stacks {
            let _ = self.span_stacks.remove(&tid);
        }
    }
}

/// An entry that is not there is as good as removed: the kernel programs remove it at exit, and may
/// have been first.
fn removed(map: &'static str, result: Result<(), MapError>) -> Result<(), ControlError> {
    match result {
        Ok(()) | Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == ErrorKind::NotFound => {
            Ok(())
        }
        Err(error) => Err(refused(map, &error)),
    }
}

fn refused(map: &'static str, error: &MapError) -> ControlError {
    ControlError::Map {
        map,
        reason: error_chain(error),
    }
}

//! What the control plane asks of the kernel side, done through aya.

use std::{collections::HashMap as Table, io::ErrorKind, path::Path};

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData, MapError},
    programs::{Program, UProbe, uprobe::UProbeScope},
};
use profiler_common::{
    context::SpanRecipe,
    python::{Process, PythonLayout},
};

use super::{
    Control, ControlError, SpanProbeSites,
    load::{self, LoadError},
};
use crate::id::Pid;

/// The maps and programs behind [`Control`]. Dropping it detaches everything.
pub struct KernelControl {
    ebpf: Ebpf,
    layouts: Array<MapData, PythonLayout>,
    processes: HashMap<MapData, u32, Process>,
    recipes: HashMap<MapData, u32, SpanRecipe>,
    /// What was written last, to tell a new incarnation from the same facts written again.
    written: Table<Pid, Process>,
    next_generation: u32,
    /// Writes the programs' log for as long as they live.
    _log: Option<super::log::BpfLog>,
}

impl KernelControl {
    pub(super) fn new(mut ebpf: Ebpf, debug: bool) -> Result<Self, LoadError> {
        let log = debug
            .then(|| super::log::BpfLog::start(&mut ebpf))
            .flatten();
        let layouts = ebpf
            .take_map("LAYOUTS")
            .ok_or(LoadError::Missing("LAYOUTS"))?;
        let processes = ebpf
            .take_map("PROCESSES")
            .ok_or(LoadError::Missing("PROCESSES"))?;
        let recipes = ebpf
            .take_map("SPAN_RECIPES")
            .ok_or(LoadError::Missing("SPAN_RECIPES"))?;
        Ok(Self {
            layouts: Array::try_from(layouts).map_err(|error| LoadError::Map {
                map: "LAYOUTS",
                error,
            })?,
            processes: HashMap::try_from(processes).map_err(|error| LoadError::Map {
                map: "PROCESSES",
                error,
            })?,
            recipes: HashMap::try_from(recipes).map_err(|error| LoadError::Map {
                map: "SPAN_RECIPES",
                error,
            })?,
            ebpf,
            written: Table::new(),
            next_generation: 1,
            _log: log,
        })
    }

    /// Stops the sampling clock; spans are followed on.
    fn stop_sampling(&mut self) {
        if let Some(Program::PerfEvent(sample)) = self.ebpf.program_mut(load::sampling_program()) {
            // Not loaded: then it does not sample either.
            let _ = sample.unload();
        }
    }

    /// Takes a span program off all its sites.
    fn detach(&mut self, program: &'static str) {
        if let Some(Program::UProbe(probe)) = self.ebpf.program_mut(program) {
            let _ = probe.unload();
        }
    }

    fn attach(
        &mut self,
        program: &'static str,
        file: &Path,
        sites: &[u64],
    ) -> Result<(), ControlError> {
        let refused = |reason: String| ControlError::Probe {
            file: file.display().to_string(),
            reason,
        };
        let probe: &mut UProbe = self
            .ebpf
            .program_mut(program)
            .ok_or_else(|| refused(format!("no program `{program}`")))?
            .try_into()
            .map_err(|error: aya::programs::ProgramError| refused(error.to_string()))?;
        for &site in sites {
            probe
                .attach([site], file, UProbeScope::AllProcesses)
                .map_err(|error| refused(error_chain(&error)))?;
        }
        Ok(())
    }
}

impl Drop for KernelControl {
    /// Taking off a probe takes the kernel tens of milliseconds. So sampling stops first, or the
    /// last samples would see spans that start and never end; then starts, and ends last.
    fn drop(&mut self) {
        self.stop_sampling();
        self.detach("span_start");
        self.detach("span_end");
    }
}

impl Control for KernelControl {
    fn start_sampling(&mut self, period: u64) -> Result<(), ControlError> {
        load::attach_sampling(&mut self.ebpf, period)
            .map_err(|error| ControlError::Clock(error_chain(&error)))
    }

    fn set_layout(&mut self, index: u32, layout: &PythonLayout) -> Result<(), ControlError> {
        self.layouts
            .set(index, layout, 0)
            .map_err(|error| refused("LAYOUTS", &error))
    }

    fn set_process(&mut self, pid: Pid, process: &Process) -> Result<(), ControlError> {
        let mut process = *process;
        match self.written.get(&pid) {
            Some(before)
                if Process {
                    generation: 0,
                    ..*before
                } == Process {
                    generation: 0,
                    ..process
                } =>
            {
                process.generation = before.generation;
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

    fn attach_span_probes(
        &mut self,
        file: &Path,
        sites: &SpanProbeSites,
    ) -> Result<(), ControlError> {
        // Ends first: a start without its end would stay open for ever.
        self.attach("span_end", file, &sites.span_end)?;
        self.attach("span_start", file, &sites.span_start)
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

/// An error and its causes in one line.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

//! The only room that talks to the kernel's BPF side, and the only one that imports aya.
//!
//! In: settings, layouts, processes, probe sites. Out: the ring, the counters.
//! Must not know how interpreters are found or what records mean.

mod btf;
mod control;
mod counters;
mod cpus;
mod error;
mod load;
mod log;
mod mapped;
mod probes;
mod program;
mod ring;
mod sampling;
mod settings;
mod support;
mod usage;

use std::os::fd::BorrowedFd;

use profiler_common::{
    context::SpanRecipe,
    python::{Process, PythonLayout},
};

pub use self::{
    btf::BtfError,
    control::KernelControl,
    counters::Counters,
    error::LoadError,
    load::{Loaded, OBJECT, load},
    mapped::{Mapped, MappingNotices},
    probes::{NoRoute, Route},
    ring::{Bell, Ring},
    sampling::SamplingPrograms,
    settings::{Limits, Remembered, Settings, default_ring_size},
    support::{Support, ask},
    usage::{MapUse, ProgramUse, Usage},
};
use crate::id::Pid;

/// What the control plane may ask of the kernel side.
pub trait Control: Send {
    /// Starts the sampling clock on every CPU.
    fn start_sampling(&mut self) -> Result<(), ControlError>;

    /// Makes a layout known under an index below [`profiler_common::limits::MAX_LAYOUTS`].
    fn set_layout(&mut self, index: u32, layout: &PythonLayout) -> Result<(), ControlError>;

    /// Takes samples of a process from now on, or changes what is known of it.
    fn set_process(&mut self, pid: Pid, process: &Process) -> Result<(), ControlError>;

    /// Reads the current span of a process's threads by a recipe from now on, or with `None` no more.
    fn set_span_recipe(
        &mut self,
        pid: Pid,
        recipe: Option<&SpanRecipe>,
    ) -> Result<(), ControlError>;

    /// Reads the current span of threads in one interpreter of a process, not its main one, by a recipe from now on,
    /// or with `None` no more.
    fn set_interpreter_recipe(
        &mut self,
        pid: Pid,
        interpreter: InterpreterId,
        recipe: Option<&SpanRecipe>,
    ) -> Result<(), ControlError>;

    /// Takes no more samples of a process. Forgetting one that is not there is no error.
    fn remove_process(&mut self, pid: Pid) -> Result<(), ControlError>;

    /// Puts the span programs on the probe sites of one file, for every process that maps it now
    /// or later, until the file's probes are detached or the agent ends. The file is told by the descriptor that the
    /// sites were read from: where a path leads is up to others, and sites of one file are anything in another.
    fn attach_span_probes(
        &mut self,
        file: BorrowedFd<'_>,
        sites: &SpanProbeSites,
    ) -> Result<SpanProbes, ControlError>;

    /// Takes the span programs off the sites of a file.
    fn detach_span_probes(&mut self, probes: SpanProbes);

    /// Forgets the open spans and span stacks of all processes but those to keep: ends that nobody has
    /// seen must not leave spans open.
    fn forget_spans(&mut self, keep: &dyn Fn(Pid) -> bool);
}

/// An interpreter of a process: its address is used again once it is gone, its id is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InterpreterId {
    /// Address of its `PyInterpreterState`.
    pub address: u64,
    /// `PyInterpreterState.id`; the main interpreter's is 0.
    pub id: u64,
}

/// The attached probes of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanProbes(pub u64);

/// The span probes of a file: file offsets of the probe instructions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpanProbeSites {
    /// Sites of `span_start`.
    pub span_start: Vec<u64>,
    /// Sites of `span_end`.
    pub span_end: Vec<u64>,
    /// Whether one of them is the 5-byte nop of earlier packages, of which some kernels make a call that
    /// forked children do not survive ([`Support::calls_crash_children`]).
    pub on_long_nops: bool,
}

/// The kernel refused something.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The sampling clock could not be started.
    #[error("cannot start the sampling clock: {0}")]
    Clock(String),
    /// A map refused an update.
    #[error("cannot update the BPF map `{map}`: {reason}")]
    Map {
        /// The map.
        map: &'static str,
        /// What the kernel said.
        reason: String,
    },
    /// A probe could not be attached.
    #[error("cannot attach the span probes: {0}")]
    Probe(NoRoute),
    /// The sites are 5-byte nops, and the kernel makes calls of those ([`Support::calls_crash_children`]).
    #[error(
        "its probes would crash forked children on this kernel: upgrade the Python package `spanprof`"
    )]
    CallsCrashChildren,
}

/// A kernel side that takes everything and does nothing: for looking at processes without
/// profiling them.
#[derive(Clone, Copy, Debug)]
pub struct NoKernel;

impl Control for NoKernel {
    fn start_sampling(&mut self) -> Result<(), ControlError> {
        Ok(())
    }

    fn set_layout(&mut self, _index: u32, _layout: &PythonLayout) -> Result<(), ControlError> {
        Ok(())
    }

    fn set_process(&mut self, _pid: Pid, _process: &Process) -> Result<(), ControlError> {
        Ok(())
    }

    fn set_span_recipe(
        &mut self,
        _pid: Pid,
        _recipe: Option<&SpanRecipe>,
    ) -> Result<(), ControlError> {
        Ok(())
    }

    fn set_interpreter_recipe(
        &mut self,
        _pid: Pid,
        _interpreter: InterpreterId,
        _recipe: Option<&SpanRecipe>,
    ) -> Result<(), ControlError> {
        Ok(())
    }

    fn remove_process(&mut self, _pid: Pid) -> Result<(), ControlError> {
        Ok(())
    }

    fn attach_span_probes(
        &mut self,
        _file: BorrowedFd<'_>,
        _sites: &SpanProbeSites,
    ) -> Result<SpanProbes, ControlError> {
        Ok(SpanProbes(0))
    }

    fn detach_span_probes(&mut self, _probes: SpanProbes) {}

    fn forget_spans(&mut self, _keep: &dyn Fn(Pid) -> bool) {}
}

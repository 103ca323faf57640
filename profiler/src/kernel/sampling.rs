//! The programs that take samples: which of them this kernel can run, loading them, and their clock.

use aya::{
    Ebpf,
    maps::ProgramArray,
    programs::{
        PerfEvent, Program, ProgramError,
        perf_event::{PerfEventConfig, PerfEventScope, SamplePolicy, SoftwareEvent},
    },
    sys::BpfHelper,
};

use super::{cpus, error::LoadError, program::load_program, support::has_helper};

/// Which programs take samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SamplingPrograms {
    /// One, which repeats by the helper `bpf_loop` and loads fields of the task by their type.
    Whole,
    /// Two halves with unrolled loops, for kernels whose verifier can follow no more. Later ones take them, too.
    Split,
}

impl SamplingPrograms {
    /// Those that the running kernel can run, by the helpers that it has.
    pub(super) fn of_this_kernel() -> Result<Self, LoadError> {
        let needed = [
            BpfHelper::BPF_FUNC_loop,
            BpfHelper::BPF_FUNC_get_current_task_btf,
        ];
        for helper in needed {
            if !has_helper(helper)? {
                return Ok(Self::Split);
            }
        }
        Ok(Self::Whole)
    }

    /// Loads them.
    pub(super) fn load(self, ebpf: &mut Ebpf) -> Result<(), LoadError> {
        load_program::<PerfEvent>(ebpf, self.first(), PerfEvent::load)?;
        match self {
            Self::Whole => Ok(()),
            Self::Split => load_second_half(ebpf),
        }
    }

    /// The program that the clock starts.
    fn first(self) -> &'static str {
        match self {
            Self::Whole => "sample",
            Self::Split => "sample_unrolled",
        }
    }

    /// Attaches the program to the CPU clock of every CPU that is online. `period` is in
    /// nanoseconds of CPU time.
    pub(super) fn start(self, ebpf: &mut Ebpf, period: u64) -> Result<(), LoadError> {
        let program = self.first();
        let sample = ebpf
            .program_mut(program)
            .ok_or(LoadError::Missing(program))?;
        let sample: &mut PerfEvent = sample
            .try_into()
            .map_err(|error| LoadError::Program { program, error })?;
        for cpu in cpus::online().map_err(LoadError::Cpus)? {
            sample
                .attach(
                    PerfEventConfig::Software(SoftwareEvent::CpuClock),
                    PerfEventScope::AllProcessesOneCpu { cpu },
                    // A period, not a frequency: the CPU clock then ticks evenly, and one sample is
                    // worth one period exactly.
                    SamplePolicy::Period(period),
                    false,
                )
                .map_err(|error| LoadError::Program { program, error })?;
        }
        Ok(())
    }

    /// Stops the clock.
    pub(super) fn stop(self, ebpf: &mut Ebpf) {
        if let Some(Program::PerfEvent(sample)) = ebpf.program_mut(self.first()) {
            // Not loaded: then it does not sample either.
            let _ = sample.unload();
        }
    }
}

/// Has `sample_unrolled` call its second half.
fn load_second_half(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    const MAP: &str = "SPAN_PROGRAM";
    let program = "sample_span";
    let half = load_program::<PerfEvent>(ebpf, program, PerfEvent::load)?;
    let half = half
        .fd()
        .and_then(|fd| fd.try_clone().map_err(ProgramError::IOError))
        .map_err(|error| LoadError::Program { program, error })?;
    let failed = |error| LoadError::Map { map: MAP, error };
    let map = ebpf.map_mut(MAP).ok_or(LoadError::Missing(MAP))?;
    let mut map = ProgramArray::try_from(map).map_err(failed)?;
    map.set(0, &half, 0).map_err(failed)
}

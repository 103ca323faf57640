//! The programs that take samples: which of them this kernel can run, and their clock.

use aya::{
    Ebpf,
    maps::ProgramArray,
    programs::{
        PerfEvent, Program, ProgramError,
        perf_event::{PerfEventConfig, PerfEventScope, SamplePolicy, SoftwareEvent},
    },
};

use super::{cpus, error::LoadError, program::load_program, support::has_loop};

/// Loads what takes samples.
pub(super) fn load(ebpf: &mut Ebpf) -> Result<(), LoadError> {
    load_program::<PerfEvent>(ebpf, program(), PerfEvent::load)?;
    if !has_loop() {
        load_second_half(ebpf)?;
    }
    Ok(())
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

/// The one of the two programs that take samples which this kernel can run.
fn program() -> &'static str {
    if has_loop() {
        "sample"
    } else {
        "sample_unrolled"
    }
}

/// Attaches the program to the CPU clock of every CPU that is online. `period` is in
/// nanoseconds of CPU time.
pub(super) fn start(ebpf: &mut Ebpf, period: u64) -> Result<(), LoadError> {
    let program = program();
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
pub(super) fn stop(ebpf: &mut Ebpf) {
    if let Some(Program::PerfEvent(sample)) = ebpf.program_mut(program()) {
        // Not loaded: then it does not sample either.
        let _ = sample.unload();
    }
}

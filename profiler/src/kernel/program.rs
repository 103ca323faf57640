//! Parts of the loaded object: a program that is handed to the verifier, a map that is taken over.

use aya::{
    Ebpf,
    maps::{Map, MapError},
    programs::ProgramError,
};

use super::error::LoadError;
use crate::time::monotonic_now;

/// Loads the program of a name, which is of the kind `P`.
pub(super) fn load_program<'a, P>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
    load: fn(&mut P) -> Result<(), ProgramError>,
) -> Result<&'a mut P, LoadError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or(LoadError::Missing(name))?;
    let program: &mut P = program.try_into().map_err(|error| LoadError::Program {
        program: name,
        error,
    })?;
    let start = monotonic_now();
    load(program).map_err(|error| LoadError::Program {
        program: name,
        error,
    })?;
    let verified_us = start.elapsed().as_micros();
    tracing::debug!(
        program = name,
        verified_us,
        "the kernel has taken a program"
    );
    Ok(program)
}

/// Takes over a map of the programs.
pub(super) fn take<T>(
    ebpf: &mut Ebpf,
    map: &'static str,
    into: impl FnOnce(Map) -> Result<T, MapError>,
) -> Result<T, LoadError> {
    let taken = ebpf.take_map(map).ok_or(LoadError::Missing(map))?;
    into(taken).map_err(|error| LoadError::Map { map, error })
}

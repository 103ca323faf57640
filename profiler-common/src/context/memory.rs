//! Reading words, and what lies near them.

use super::ContextScratch;
use crate::{
    arch::{Architecture as _, Machine},
    span::state,
    walk::ReadUser,
};

/// Most bytes that are read at once.
const NEAR: u64 = 248;

/// A word that must be readable.
#[inline(always)]
pub(super) fn word<R: ReadUser>(reader: &R, address: u64) -> Result<u64, u32> {
    reader.read_u64(address).ok_or(state::CONTEXT_UNREADABLE)
}

/// How many bytes from an address on to read at once: at least `least`, and as many more as lie in the same page, since
/// a page that is not resident costs a fault.
#[inline(always)]
pub(super) fn reach(address: u64, least: u64) -> u64 {
    let room = Machine::PAGE - (address & (Machine::PAGE - 1));
    let size = if room < NEAR { room } else { NEAR };
    if size < least { least } else { size }
}

/// Reads what lies from an address on into `scratch.near`, at least `least` bytes.
#[inline(always)]
pub(super) fn near<R: ReadUser>(
    reader: &R,
    address: u64,
    least: u64,
    scratch: &mut ContextScratch,
) -> Result<(), u32> {
    let size = reach(address, least);
    scratch.near_start = address;
    scratch.near_size = 0;
    if !reader.read_part(address, size as u32, &mut scratch.near) {
        return Err(state::CONTEXT_UNREADABLE);
    }
    scratch.near_size = size;
    Ok(())
}

/// A word that must be readable, and may have been read already.
#[inline(always)]
pub(super) fn word_near<R: ReadUser>(
    reader: &R,
    scratch: &ContextScratch,
    address: u64,
) -> Result<u64, u32> {
    let at = address.wrapping_sub(scratch.near_start);
    if at.is_multiple_of(8) && at < scratch.near_size && scratch.near_size - at >= 8 {
        return Ok(scratch.near.u64_at(at as u16));
    }
    word(reader, address)
}

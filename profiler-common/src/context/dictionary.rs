//! Dictionaries: a `Context` is one, and an object may keep its attributes in one.

use super::{Attributes, ContextScratch, SpanRecipe, dialect, memory::reach};
use crate::{
    span::state,
    walk::{Block, ReadUser},
};

/// Most entries of a `Context` that are read; real ones have one to three.
const MAX_CONTEXT_ENTRIES: u64 = 16;

/// The current span in a `Context`.
#[inline(always)]
pub(super) fn span_in<R: ReadUser>(
    reader: &R,
    recipe: &SpanRecipe,
    context: u64,
    scratch: &mut ContextScratch,
) -> Result<u64, u32> {
    let dictionary = dictionary(reader, recipe, context, scratch)?;
    if dictionary.class != recipe.context_class || dictionary.values != 0 {
        return Err(state::CONTEXT_UNEXPECTED);
    }
    if dictionary.used == 0 {
        return Err(state::NONE);
    }
    let keys = dictionary.keys;
    let is_whole = entries(reader, recipe, keys, MAX_CONTEXT_ENTRIES, scratch)?;
    match entry(scratch, recipe.span_key, MAX_CONTEXT_ENTRIES) {
        Some(span) => Ok(span),
        None if is_whole => Err(state::NONE),
        None => Err(state::CONTEXT_TOO_LARGE),
    }
}

/// `PyDictObject.ma_keys`, behind `PyObject`.
pub const DICTIONARY_KEYS: u16 = 16;
/// Bytes of the head of a keys object that [`keys_shape`] reads.
pub const KEYS_HEAD: u32 = 40;

/// Where a keys object (`PyDictKeysObject`) has its entries, each of which ends with key and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeysShape {
    /// Bytes from its start to the first of them: behind its head and its indices.
    pub start: u64,
    /// Bytes of each.
    pub stride: u64,
    /// How many there are.
    pub count: u64,
}

/// What the head of a keys object says, in one of [`dialect`]; `None` if no dictionary has such a head.
#[inline(always)]
pub fn keys_shape<const N: usize>(head: &Block<N>, dialect: u8) -> Option<KeysShape> {
    /// `DICT_KEYS_GENERAL`: entries with a hash; those of the other kinds have none.
    const GENERAL: u8 = 0;
    if dialect & dialect::PLAIN_KEYS != 0 {
        // `dk_size`, `dk_nentries`, `dk_indices`; an index has as many bytes as the size needs.
        let size = head.u64_at(8);
        let shift = match size {
            0..=0xff => 0,
            0x100..=0xffff => 1,
            0x1_0000..=0xffff_ffff => 2,
            _ => return None,
        };
        return Some(KeysShape {
            start: 40 + (size << shift),
            stride: 24,
            count: head.u64_at(32),
        });
    }
    // `dk_log2_index_bytes`, `dk_kind`, `dk_nentries`, `dk_indices`.
    let indices = 1_u64 << (head.u8_at(9) & 31);
    Some(KeysShape {
        start: 32 + indices,
        stride: if head.u8_at(10) == GENERAL { 24 } else { 16 },
        count: head.u64_at(24),
    })
}

/// The head of a dictionary.
pub(super) struct Dictionary {
    pub(super) class: u64,
    pub(super) used: u64,
    pub(super) keys: u64,
    pub(super) values: u64,
}

/// Reads the head of a dictionary.
#[inline(always)]
pub(super) fn dictionary<R: ReadUser>(
    reader: &R,
    recipe: &SpanRecipe,
    address: u64,
    scratch: &mut ContextScratch,
) -> Result<Dictionary, u32> {
    /// `ma_values`, behind `PyObject`; `ma_used` is the first field.
    const VALUES: u16 = 24;
    let object = u16::from(recipe.object_size);
    if !reader.read_part(address, u32::from(object) + 32, &mut scratch.object) {
        return Err(state::CONTEXT_UNREADABLE);
    }
    let block = &scratch.object;
    Ok(Dictionary {
        class: block.u64_at(recipe.type_offset()),
        used: block.u64_at(object),
        keys: block.u64_at(object + DICTIONARY_KEYS),
        values: block.u64_at(object + VALUES),
    })
}

/// Reads up to `most` entries of a dictionary's keys, and stores their layout in `scratch.attributes`; returns whether
/// those are all.
#[inline(always)]
pub(super) fn entries<R: ReadUser>(
    reader: &R,
    recipe: &SpanRecipe,
    keys: u64,
    most: u64,
    scratch: &mut ContextScratch,
) -> Result<bool, u32> {
    // With the entries, if they are few.
    let size = reach(keys, u64::from(KEYS_HEAD));
    if !reader.read_part(keys, size as u32, &mut scratch.entries) {
        return Err(state::CONTEXT_UNREADABLE);
    }
    let shape = keys_shape(&scratch.entries, recipe.dialect).ok_or(state::CONTEXT_UNEXPECTED)?;
    let KeysShape {
        start,
        stride,
        count,
    } = shape;
    let kept = if count > most { most } else { count };
    let length = kept * stride;
    scratch.attributes = Attributes {
        values: 0,
        start,
        end: start.wrapping_add(length),
        stride,
    };
    if scratch.attributes.end > size {
        scratch.attributes.start = 0;
        scratch.attributes.end = length;
        if !reader.read_part(
            keys.wrapping_add(start),
            length as u32,
            &mut scratch.entries,
        ) {
            return Err(state::CONTEXT_UNREADABLE);
        }
    }
    Ok(kept == count)
}

/// The value of a key among the entries that were read.
#[inline(always)]
pub(super) fn entry(scratch: &ContextScratch, key: u64, most: u64) -> Option<u64> {
    let Attributes {
        start, end, stride, ..
    } = scratch.attributes;
    // An entry ends with key and value, whatever precedes them.
    let mut at = start.wrapping_add(stride).wrapping_sub(16);
    // The loop ends at an offset and not at a count: see `collision`.
    for _ in 0..most {
        if at >= end {
            break;
        }
        if scratch.entries.u64_at(at as u16) == key {
            let value = scratch.entries.u64_at((at as u16).wrapping_add(8));
            return if value == 0 { None } else { Some(value) };
        }
        at = at.wrapping_add(stride);
    }
    None
}

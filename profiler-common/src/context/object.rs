//! Objects: their attributes, wherever a CPython keeps them, and integers.

use super::{
    ContextScratch, NO_ATTRIBUTE, SpanClass, SpanRecipe, UNPROVEN, dialect,
    dictionary::{self, Dictionary, entries, entry},
    memory::{near, word_near},
    storage,
};
use crate::{span::state, walk::ReadUser};

/// Most attributes of a span that are read, if they are in a separate dictionary.
const MAX_ATTRIBUTES: u64 = 32;

/// Reads an object, with the words in front of it if they say where its attributes are; returns its class.
#[inline(always)]
pub fn look<R: ReadUser>(
    reader: &R,
    recipe: &SpanRecipe,
    storage: u8,
    object: u64,
    scratch: &mut ContextScratch,
) -> Result<u64, u32> {
    let in_front = if storage == storage::DICTIONARY {
        0
    } else {
        32
    };
    near(
        reader,
        object.wrapping_sub(in_front),
        in_front + u64::from(recipe.object_size),
        scratch,
    )?;
    let class = object.wrapping_add(u64::from(recipe.type_offset()));
    word_near(reader, scratch, class)
}

/// Finds out where the attributes are of the instance that was read last, and stores that in `scratch.attributes`; an
/// error is one of [`state`]. It is long because it has an arm for each place in which some CPython has them.
#[inline(always)]
pub fn locate<R: ReadUser>(
    reader: &R,
    recipe: &SpanRecipe,
    storage: u8,
    class: &SpanClass,
    object: u64,
    scratch: &mut ContextScratch,
) -> Result<(), u32> {
    let in_front = |bytes: u64| word_near(reader, scratch, object.wrapping_sub(bytes));
    let at_offset = object.wrapping_add(u64::from(class.offset));
    let start = u64::from(recipe.values_start);
    let (values, dictionary) = match storage {
        storage::DICTIONARY => (0, word_near(reader, scratch, at_offset)?),
        storage::IN_FRONT => (0, in_front(u64::from(recipe.dictionary_in_front))?),
        storage::TWO_POINTERS => match in_front(32)? {
            0 => (0, in_front(24)?),
            values => (values, 0),
        },
        storage::TAGGED_POINTER => {
            let word = in_front(24)?;
            if word & 1 == 1 {
                (word.wrapping_add(1), 0)
            } else {
                (0, word)
            }
        }
        _ => {
            // `PyDictValues`: capacity, size, embedded, valid; then the values.
            if (word_near(reader, scratch, at_offset)? >> 24) as u8 == 0 {
                (0, in_front(u64::from(recipe.dictionary_in_front))?)
            } else {
                (at_offset, 0)
            }
        }
    };
    if values != 0 {
        if class.first_key & UNPROVEN != 0 && !is_proven(reader, recipe, class, class.keys) {
            return Err(state::SPAN_CLASS_UNKNOWN);
        }
        scratch.attributes.values = values.wrapping_add(start);
        if storage != storage::INLINE {
            // A span has more attributes than fit, and the ones needed here are among the first.
            near(reader, values.wrapping_add(start), 8, scratch)?;
        }
        return Ok(());
    }
    let Dictionary { keys, values, .. } =
        dictionary::dictionary(reader, recipe, dictionary, scratch)?;
    if values == 0 {
        return if entries(reader, recipe, keys, MAX_ATTRIBUTES, scratch)? {
            Ok(())
        } else {
            Err(state::CONTEXT_TOO_LARGE)
        };
    }
    let is_known = if class.first_key & UNPROVEN == 0 {
        keys == class.keys
    } else {
        is_proven(reader, recipe, class, keys)
    };
    if !is_known {
        return Err(state::SPAN_CLASS_UNKNOWN);
    }
    scratch.attributes.values = values.wrapping_add(start);
    Ok(())
}

/// Whether shared keys hold the names of a class's attributes where they are in another process. A function of its own:
/// few samples need it.
#[inline(never)]
fn is_proven<R: ReadUser>(reader: &R, recipe: &SpanRecipe, class: &SpanClass, keys: u64) -> bool {
    let first = keys.wrapping_add(u64::from(class.first_key & !UNPROVEN));
    let stride = recipe.keys_stride();
    let holds = |index: u8, name: u64| {
        let at = first.wrapping_add(u64::from(index).wrapping_mul(stride));
        index == NO_ATTRIBUTE || reader.read_u64(at) == Some(name)
    };
    holds(class.context, recipe.name_context)
        && holds(class.end_time, recipe.name_end_time)
        && holds(class.name, recipe.name_name)
        && holds(class.parent, recipe.name_parent)
}

/// The value of an attribute: by its index in the shared keys, or by name in the instance's own; 0 if it is not set.
#[inline(always)]
pub fn attribute<R: ReadUser>(
    reader: &R,
    scratch: &ContextScratch,
    index: u8,
    name: u64,
) -> Result<u64, u32> {
    let values = scratch.attributes.values;
    if values != 0 {
        return word_near(reader, scratch, values.wrapping_add(8 * u64::from(index)));
    }
    Ok(entry(scratch, name, MAX_ATTRIBUTES).unwrap_or(0))
}

/// The two halves of an integer of up to `digits` digits (5 at most) of 30 bits.
#[inline(always)]
pub fn integer<R: ReadUser>(
    reader: &R,
    recipe: &SpanRecipe,
    object: u64,
    digits: u32,
    scratch: &mut ContextScratch,
) -> Result<(u64, u64), u32> {
    // `ob_size` or `lv_tag`, then `ob_digit`.
    let start = u16::from(recipe.object_size);
    let length = u32::from(start) + 8 + 4 * digits;
    if !reader.read_part(object, length, &mut scratch.object) {
        return Err(state::CONTEXT_UNREADABLE);
    }
    let size = scratch.object.u64_at(start);
    let count = if recipe.dialect & dialect::SIZED_INTEGERS != 0 {
        size
    } else {
        // The lowest bits tell the sign: 0 positive, 1 zero.
        if size & 3 > 1 {
            return Err(state::CONTEXT_UNEXPECTED);
        }
        size >> 3
    };
    if count > u64::from(digits) {
        return Err(state::CONTEXT_UNEXPECTED);
    }
    let digit = |index: u16| {
        if u64::from(index) < count {
            u64::from(scratch.object.u32_at(start + 8 + 4 * index))
        } else {
            0
        }
    };
    let low = digit(0) | digit(1) << 30 | digit(2) << 60;
    let high = digit(2) >> 4 | digit(3) << 26 | digit(4) << 56;
    Ok((high, low))
}

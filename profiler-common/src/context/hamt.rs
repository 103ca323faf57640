//! The way from a thread's state to the value of OpenTelemetry's context variable.

use super::{
    ContextScratch, SpanRecipe,
    memory::{near, word, word_near},
};
use crate::{span::state, walk::ReadUser};

/// Levels of a HAMT: 5 bits of a 32-bit hash each, and one of collisions.
const MAX_LEVELS: u32 = 8;
/// Most pairs of a collision node that are read.
const MAX_COLLISIONS: u64 = 8;

/// The value of OpenTelemetry's context variable in the thread's context.
#[inline(always)]
pub(super) fn context_value<R: ReadUser>(
    reader: &R,
    recipe: &SpanRecipe,
    thread_state: u64,
    scratch: &mut ContextScratch,
) -> Result<u64, u32> {
    /// `PyContext.ctx_vars`, behind `PyObject` and `ctx_prev`.
    const CONTEXT_VARIABLES: u64 = 8;
    let object = u64::from(recipe.object_size);
    if reader.read_u64(recipe.runtime_context_place) != Some(recipe.runtime_context) {
        return Err(state::CONTEXT_UNEXPECTED);
    }
    let place = thread_state.wrapping_add(u64::from(recipe.thread_context));
    let context = word(reader, place)?;
    if context == 0 {
        // No context was ever entered or written in this thread.
        return Err(state::NONE);
    }
    let variables = word(reader, context.wrapping_add(object + CONTEXT_VARIABLES))?;
    // `PyHamtObject.h_root` is the first field.
    let mut node = word(reader, variables.wrapping_add(object))?;
    let mut hash = recipe.variable_hash;
    for _ in 0..MAX_LEVELS {
        let pair = match child(reader, recipe, node, hash & 31, scratch)? {
            Child::Node(child) => {
                node = child;
                hash >>= 5;
                continue;
            }
            Child::Collision(count) => return collision(reader, recipe, node, count),
            Child::Pair(pair) => pair,
        };
        if pair.0 == recipe.variable {
            return Ok(pair.1);
        }
        return Err(state::NONE);
    }
    Err(state::CONTEXT_UNEXPECTED)
}

/// What lies at one place of a HAMT node.
enum Child {
    Node(u64),
    Pair((u64, u64)),
    Collision(u64),
}

/// The child of a node at an index below 32. It is long because it has a part for each kind of node.
#[inline(always)]
fn child<R: ReadUser>(
    reader: &R,
    recipe: &SpanRecipe,
    node: u64,
    index: u32,
    scratch: &mut ContextScratch,
) -> Result<Child, u32> {
    /// `PyHamtNode_Bitmap.b_bitmap` and `b_array`, behind `PyObject`; `PyHamtNode_Array.a_array` is
    /// the first field.
    const BITMAP: u16 = 8;
    const BITMAP_PAIRS: u64 = 16;
    let object = u64::from(recipe.object_size);
    near(reader, node, object + 24, scratch)?;
    let kind = scratch.near.u64_at(recipe.type_offset());
    if kind == recipe.bitmap_node {
        let bitmap = scratch.near.u32_at((object as u16).wrapping_add(BITMAP));
        let bit = 1_u32 << (index & 31);
        if bitmap & bit == 0 {
            return Err(state::NONE);
        }
        let before = u64::from((bitmap & bit.wrapping_sub(1)).count_ones());
        let pair = node.wrapping_add(object + BITMAP_PAIRS + 16 * before);
        let key = word_near(reader, scratch, pair)?;
        let value = word_near(reader, scratch, pair.wrapping_add(8))?;
        return Ok(if key == 0 {
            Child::Node(value)
        } else {
            Child::Pair((key, value))
        });
    }
    if kind == recipe.array_node {
        let place = node.wrapping_add(object + 8 * u64::from(index));
        let child = word_near(reader, scratch, place)?;
        if child == 0 {
            return Err(state::NONE);
        }
        return Ok(Child::Node(child));
    }
    if kind == recipe.collision_node {
        return Ok(Child::Collision(scratch.near.u64_at(object as u16) / 2));
    }
    Err(state::CONTEXT_UNEXPECTED)
}

/// The variable's value in a node whose keys all have the same hash.
#[inline(always)]
fn collision<R: ReadUser>(
    reader: &R,
    recipe: &SpanRecipe,
    node: u64,
    count: u64,
) -> Result<u64, u32> {
    /// `PyHamtNode_Collision.c_array`, behind `PyObject`.
    const COLLISION_PAIRS: u64 = 16;
    let mut pair = node.wrapping_add(u64::from(recipe.object_size) + COLLISION_PAIRS);
    let end = pair.wrapping_add(16 * count);
    // The loop counts up to a constant, and ends at an address: a compiler would make a minimum of two counts, in which
    // older kernels see no bound.
    for _ in 0..MAX_COLLISIONS {
        if pair >= end {
            return Err(state::NONE);
        }
        if word(reader, pair)? == recipe.variable {
            return word(reader, pair.wrapping_add(8));
        }
        pair = pair.wrapping_add(16);
    }
    Err(state::CONTEXT_TOO_LARGE)
}

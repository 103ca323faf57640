//! Spans: the ids of one, and its local root.

use super::{
    ContextScratch, LastSpan, NO_ATTRIBUTE, SpanClass, SpanRecipe, attribute, instances, integer,
    locate, look,
};
use crate::{span::state, walk::ReadUser};

/// A local root, as the hook has stored it in the contexts of the root and of each span below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalRoot {
    /// Its id.
    pub span_id: u64,
    /// Address of its name; 0 if that is no text.
    pub name: u64,
}

/// The ids of a span, if it has not ended; also of one that is not recorded, if they were asked for. It is long because it has a line for each reason why there are none.
#[inline(always)]
pub(super) fn ids<R: ReadUser>(
    reader: &R,
    recipe: &SpanRecipe,
    span: u64,
    scratch: &mut ContextScratch,
) -> Result<(), u32> {
    let mut found = find(reader, recipe, span, scratch)?;
    if found.instances == instances::WRAPPERS {
        // Once: a wrapper in a wrapper could go on for ever.
        let inner = attribute(reader, scratch, found.context, found.inner_name)?;
        if inner == 0 {
            return Err(state::CONTEXT_UNEXPECTED);
        }
        found = find(reader, recipe, inner, scratch)?;
        if found.instances == instances::WRAPPERS {
            return Err(state::CONTEXT_UNEXPECTED);
        }
    }
    if found.end_time != NO_ATTRIBUTE {
        let end = attribute(reader, scratch, found.end_time, recipe.name_end_time)?;
        if end != 0 && end != recipe.none {
            return Err(state::ENDED);
        }
    }
    let context = attribute(reader, scratch, found.context, recipe.name_context)?;
    scratch.span.context = context;
    if !reader.read(context, 64, &mut scratch.object) {
        return Err(state::CONTEXT_UNREADABLE);
    }
    if scratch.object.u64_at(recipe.type_offset()) != recipe.span_context_class {
        return Err(state::CONTEXT_UNEXPECTED);
    }
    let trace = scratch.object.u64_at(recipe.tuple_items);
    let span = scratch.object.u64_at(recipe.tuple_items.wrapping_add(8));
    let (_, span_id) = integer(reader, recipe, span, 3, scratch)?;
    let is_recorded = found.instances != instances::NOT_RECORDED;
    if span_id == 0 {
        // As `INVALID_SPAN` has it.
        return Err(if is_recorded {
            state::NONE
        } else {
            state::NOT_RECORDED
        });
    }
    if scratch.last.span_id != span_id || scratch.last.trace != trace {
        let (trace_id_high, trace_id_low) = integer(reader, recipe, trace, 5, scratch)?;
        scratch.last = LastSpan {
            span_id,
            trace,
            trace_id_high,
            trace_id_low,
        };
    }
    scratch.span.trace_id_high = scratch.last.trace_id_high;
    scratch.span.trace_id_low = scratch.last.trace_id_low;
    scratch.span.span_id = span_id;
    if is_recorded {
        Ok(())
    } else {
        Err(state::NOT_RECORDED)
    }
}

/// Finds the class of an object, and where its attributes are. A function of its own: the verifier would follow all ways
/// through it twice.
#[inline(never)]
fn find<R: ReadUser>(
    reader: &R,
    recipe: &SpanRecipe,
    object: u64,
    scratch: &mut ContextScratch,
) -> Result<SpanClass, u32> {
    let class = look(reader, recipe, recipe.storage, object, scratch)?;
    scratch.span.class = class;
    let (index, found) = find_class(recipe, class).ok_or(state::SPAN_CLASS_UNKNOWN)?;
    scratch.span.class_index = index;
    // Whatever ids it has are of a span that was dropped, or of another process's: nobody has asked for them.
    if found.instances == instances::NOT_RECORDED && found.context == NO_ATTRIBUTE {
        return Err(state::NOT_RECORDED);
    }
    locate(reader, recipe, recipe.storage, &found, object, scratch)?;
    Ok(found)
}

/// The class's index and description.
#[inline(always)]
fn find_class(recipe: &SpanRecipe, class: u64) -> Option<(u64, SpanClass)> {
    for (index, known) in recipe.classes.iter().enumerate() {
        if index >= usize::from(recipe.class_count) {
            break;
        }
        if known.class == class {
            return Some((index as u64, *known));
        }
    }
    None
}

/// The local root of a span, if a hook has stored it in the span's context; `None` also if it cannot be read.
#[inline(always)]
pub fn local_root<R: ReadUser>(
    reader: &R,
    recipe: &SpanRecipe,
    context: u64,
    scratch: &mut ContextScratch,
) -> Option<LocalRoot> {
    if recipe.local_root.class == 0 {
        return None;
    }
    let storage = recipe.local_root_storage;
    look(reader, recipe, storage, context, scratch).ok()?;
    locate(
        reader,
        recipe,
        storage,
        &recipe.local_root,
        context,
        scratch,
    )
    .ok()?;
    let index = recipe.local_root.context;
    let pair = attribute(reader, scratch, index, recipe.name_local_root).ok()?;
    let items = recipe.tuple_items;
    if pair == 0 || !reader.read_part(pair, u32::from(items) + 16, &mut scratch.object) {
        return None;
    }
    // Without a name if that is no text.
    let name = match scratch.object.u64_at(u16::from(recipe.object_size)) {
        2 => scratch.object.u64_at(items.wrapping_add(8)),
        1 => 0,
        _ => return None,
    };
    let span_id = scratch.object.u64_at(items);
    let (_, span_id) = integer(reader, recipe, span_id, 3, scratch).ok()?;
    Some(LocalRoot { span_id, name })
}

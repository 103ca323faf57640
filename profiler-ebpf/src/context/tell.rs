//! Telling the agent of a span when a sample meets it first.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use profiler_common::{
    context::{
        ContextScratch, LocalRoot, NO_ATTRIBUTE, SpanClass, SpanRecipe, attribute, integer,
        local_root,
    },
    counter::Counter,
    event::{Header, SpanSeenRecord, kind, seen},
    python::PythonLayout,
    span::LiveSpanKey,
    walk::{NoCharacters, ReadUser as _, characters_of_any},
};

use crate::{
    count::bump,
    emit,
    maps::{EVENTS, LIVE_SPANS, SEEN_SPANS},
    user::CurrentProcess,
    verifier::masked,
};

/// Bytes of a span's name that are shipped, a power of two.
const NAME: usize = 256;

/// Ships what is read from the object of the span that was found, unless the agent knows the span by that name.
#[inline(always)]
pub(super) fn once(
    recipe: &SpanRecipe,
    layout: &PythonLayout,
    header: &Header,
    scratch: &mut ContextScratch,
) {
    let key = key(scratch.span.span_id, header);
    let class = class(recipe, scratch.span.class_index);
    let mut name = 0;
    if class.name != NO_ATTRIBUTE {
        // Mostly a part of what was read to find the span's context.
        name = attribute(&CurrentProcess, scratch, class.name, recipe.name_name).unwrap_or(0);
    }
    let mut flags = 0;
    if let Some(seen) = SEEN_SPANS.get_ptr(&key) {
        // SAFETY: map values stay readable while the program runs.
        if name == 0 || unsafe { *seen } == name {
            return;
        }
        flags = seen::AGAIN;
    } else if LIVE_SPANS.get_ptr(&key).is_some() {
        // The hook has reported it, by the name that it started with.
        flags = seen::AGAIN;
    }
    if tell(recipe, layout, header, scratch, &Telling { name, flags }) {
        let _ = SEEN_SPANS.insert(&key, &name, 0);
    }
}

/// What is known when a span is told.
struct Telling {
    /// Address of its name; 0 if it has none.
    name: u64,
    /// Bits of [`seen`].
    flags: u32,
}

#[inline(always)]
fn key(span_id: u64, header: &Header) -> LiveSpanKey {
    LiveSpanKey {
        span_id,
        tgid: header.tgid,
        reserved: 0,
    }
}

/// Ships the span, and its local root before it; false if that has to be tried again.
#[inline(never)]
fn tell(
    recipe: &SpanRecipe,
    layout: &PythonLayout,
    header: &Header,
    scratch: &mut ContextScratch,
    telling: &Telling,
) -> bool {
    let span = scratch.span;
    let class = class(recipe, span.class_index);
    let (parent_id, flags) = parent(recipe, class.parent, scratch);
    let root = local_root(&CurrentProcess, recipe, span.context, scratch).unwrap_or(LocalRoot {
        span_id: 0,
        name: 0,
    });
    let is_root = root.span_id == span.span_id;
    if !is_root && root.span_id != 0 && !tell_root(layout, header, &root, scratch) {
        return false;
    }
    let record = Seen {
        span_id: span.span_id,
        parent_id,
        local_root_id: root.span_id,
        flags: flags | telling.flags,
        name: telling.name,
    };
    ship(layout, header, &record, scratch)
}

/// The class of this index.
#[inline(always)]
fn class(recipe: &SpanRecipe, index: u64) -> SpanClass {
    let index = if index < recipe.classes.len() as u64 {
        index as usize
    } else {
        0
    };
    // SAFETY: the index is below the number of classes, a constant of the recipe's type.
    unsafe { *recipe.classes.as_ptr().add(index) }
}

/// Ships a local root, unless that was done: it goes before the record of a span that refers to it.
#[inline(always)]
fn tell_root(
    layout: &PythonLayout,
    header: &Header,
    root: &LocalRoot,
    scratch: &mut ContextScratch,
) -> bool {
    let key = key(root.span_id, header);
    if SEEN_SPANS.get_ptr(&key).is_some() {
        return true;
    }
    if root.name == 0 {
        bump(Counter::SpanNameNotText);
    }
    let record = Seen {
        span_id: root.span_id,
        parent_id: 0,
        local_root_id: root.span_id,
        flags: seen::PARENT_UNKNOWN,
        name: root.name,
    };
    let is_shipped = ship(layout, header, &record, scratch);
    if is_shipped {
        // A sample in the root itself tells whether it has another name by then.
        let _ = SEEN_SPANS.insert(&key, &root.name, 0);
    }
    is_shipped
}

/// The parent of a span whose attributes were located: its id, and bits of [`seen`].
#[inline(always)]
fn parent(recipe: &SpanRecipe, index: u8, scratch: &mut ContextScratch) -> (u64, u32) {
    let unknown = (0, seen::PARENT_UNKNOWN);
    if index == NO_ATTRIBUTE {
        return unknown;
    }
    let parent = attribute(&CurrentProcess, scratch, index, recipe.name_parent).unwrap_or(0);
    if parent == recipe.none {
        return (0, 0);
    }
    if parent == 0 || !CurrentProcess.read(parent, 64, &mut scratch.object) {
        return unknown;
    }
    if scratch.object.u64_at(recipe.type_offset()) != recipe.span_context_class {
        return unknown;
    }
    let id = scratch.object.u64_at(recipe.tuple_items.wrapping_add(8));
    let is_remote = scratch.object.u64_at(recipe.tuple_items.wrapping_add(16)) == recipe.truth;
    match integer(&CurrentProcess, recipe, id, 3, scratch) {
        Ok((_, id)) if is_remote => (id, seen::PARENT_IS_REMOTE),
        Ok((_, id)) => (id, 0),
        Err(_) => unknown,
    }
}

/// What a record says of a span, except for its trace.
struct Seen {
    span_id: u64,
    parent_id: u64,
    local_root_id: u64,
    /// Bits of [`seen`].
    flags: u32,
    /// Address of its name, a string; 0 if there is none.
    name: u64,
}

/// Ships one span of the trace that was found; false if the ring is full.
#[inline(never)]
fn ship(layout: &PythonLayout, header: &Header, span: &Seen, scratch: &mut ContextScratch) -> bool {
    let Some(mut entry) = EVENTS.reserve::<SpanSeenRecord>(0) else {
        bump(Counter::SpanRingFull);
        return false;
    };
    let record = entry.as_mut_ptr();
    let text = read_name(layout, span.name, scratch, record);
    // SAFETY: the reservation has room for the whole record.
    unsafe {
        (*record).header = Header {
            kind: kind::SPAN_SEEN,
            size: size_of::<SpanSeenRecord>() as u32,
            ..*header
        };
        (*record).trace_id_high = scratch.span.trace_id_high;
        (*record).trace_id_low = scratch.span.trace_id_low;
        (*record).span_id = span.span_id;
        (*record).parent_id = span.parent_id;
        (*record).local_root_id = span.local_root_id;
        (*record).flags = span.flags | text.flags;
        (*record).name_size = text.size;
        (*record).name_kind = text.kind;
        (*record).reserved = 0;
    }
    if span.flags & seen::AGAIN == 0 {
        bump(Counter::SpanSeen);
    }
    entry.submit(emit::QUIET);
    true
}

/// A name in a record.
struct Name {
    size: u32,
    kind: u32,
    flags: u32,
}

impl Name {
    const NONE: Self = Self {
        size: 0,
        kind: 0,
        flags: 0,
    };
}

/// Copies the characters of a string into the record.
#[inline(always)]
fn read_name(
    layout: &PythonLayout,
    address: u64,
    scratch: &mut ContextScratch,
    record: *mut SpanSeenRecord,
) -> Name {
    if address == 0 {
        return Name::NONE;
    }
    let characters = match characters_of_any(&CurrentProcess, layout, address, &mut scratch.object)
    {
        Ok(characters) => characters,
        Err(NoCharacters::NotText) => {
            bump(Counter::SpanNameNotText);
            return Name::NONE;
        }
        Err(NoCharacters::Unreadable) => {
            bump(Counter::SpanNameUnreadable);
            return Name::NONE;
        }
    };
    // Below the limit, which is what the mask bounds.
    let (size, is_cut) = characters.size_within(NAME as u64 - 4);
    let size = masked::<NAME>(size as usize) as u32;
    // SAFETY: the name has room for more than the masked size, and the helper checks the source.
    let failed = unsafe {
        bpf_probe_read_user(
            (&raw mut (*record).name).cast(),
            size,
            characters.address as *const _,
        )
    } != 0;
    if failed {
        bump(Counter::SpanNameUnreadable);
        return Name::NONE;
    }
    if is_cut {
        bump(Counter::SpanNameCut);
    }
    Name {
        size,
        kind: characters.kind,
        flags: if is_cut { seen::NAME_CUT } else { 0 },
    }
}

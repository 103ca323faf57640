//! The current span, read from the interpreter's own context.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use profiler_common::{
    context::{
        ContextScratch, InterpreterKey, LocalRoot, NO_ATTRIBUTE, SpanRecipe, attribute,
        current_span, integer, local_root,
    },
    counter::Counter,
    event::{Header, SpanSeenRecord, kind, seen},
    outcome::Outcome,
    python::{Process, PythonLayout},
    span::{LiveSpanKey, source, state},
    walk::{ReadUser as _, characters},
};

use crate::{
    count::bump,
    emit,
    maps::{CONTEXT_SCRATCH, EVENTS, LIVE_SPANS, SEEN_SPANS},
    scratch::SampleScratch,
    span::Current,
    user::CurrentProcess,
    verifier::masked,
};

/// Bytes of a span's name that are shipped, a power of two.
const NAME: usize = 256;

/// The interpreter that a thread runs in.
pub(crate) enum Interpreter {
    /// Its process's main one, or none at all.
    Main,
    /// Another one.
    Other(InterpreterKey),
    /// Its memory cannot be read.
    Unreadable,
}

/// The interpreter of the thread that is sampled.
#[inline(always)]
pub(crate) fn interpreter(
    process: &Process,
    layout: &PythonLayout,
    sample: &SampleScratch,
) -> Interpreter {
    let address = sample.interpreter;
    if address == 0 || address == process.main_interpreter {
        return Interpreter::Main;
    }
    match CurrentProcess.read_u64(address.wrapping_add(u64::from(layout.interpreter_id))) {
        Some(0) => Interpreter::Main,
        Some(id) => Interpreter::Other(InterpreterKey {
            address,
            id,
            tgid: sample.record.header.tgid,
            reserved: 0,
        }),
        None => Interpreter::Unreadable,
    }
}

/// No span, for a reason: one of [`state`].
#[inline(always)]
pub(crate) fn failed(reason: u32) -> Current {
    Current {
        source: source::CONTEXT,
        ..Current::none(reason)
    }
}

/// The span that is current in the thread that is sampled.
#[inline(always)]
pub(crate) fn current(
    recipe: &SpanRecipe,
    layout: &PythonLayout,
    sample: &SampleScratch,
) -> Current {
    let header = &sample.record.header;
    let mut found = failed(state::NONE);
    if recipe.is_without_spans != 0 {
        let count = CurrentProcess.read_u64(recipe.runtime_context_place);
        if count != Some(recipe.runtime_context) {
            found.state = state::INTERPRETER_UNKNOWN;
        }
        return found;
    }
    if sample.thread_state == 0 {
        // A thread that runs no Python is in no context.
        let outcome = sample.python_outcome;
        if outcome != Outcome::NoThreadState as u32 && outcome != Outcome::NoFrame as u32 {
            found.state = state::CONTEXT_UNREADABLE;
        }
        return found;
    }
    let Some(scratch) = CONTEXT_SCRATCH.get_ptr_mut(0) else {
        return found;
    };
    // SAFETY: the scratch is this CPU's, which no other program uses, and the sampling interrupt
    // does not nest.
    let scratch = unsafe { &mut *scratch };
    found.state = read(recipe, sample.thread_state, scratch);
    if found.state == state::SPAN_CLASS_UNKNOWN {
        found.class = scratch.span.class;
    }
    if found.state == state::ACTIVE {
        found.span_id = scratch.span.span_id;
        found.trace_id_high = scratch.span.trace_id_high;
        found.trace_id_low = scratch.span.trace_id_low;
        let key = LiveSpanKey {
            span_id: found.span_id,
            tgid: header.tgid,
            reserved: 0,
        };
        if SEEN_SPANS.get_ptr(&key).is_none() {
            // If the hook has reported the span, the agent knows it already.
            if LIVE_SPANS.get_ptr(&key).is_some() || tell(recipe, layout, header, scratch) {
                let _ = SEEN_SPANS.insert(&key, &1, 0);
            }
        }
    }
    found
}

/// A separate function: it needs much of the stack.
#[inline(never)]
fn read(recipe: &SpanRecipe, thread_state: u64, scratch: &mut ContextScratch) -> u32 {
    current_span(&CurrentProcess, recipe, thread_state, scratch)
}

/// Ships what is read from the span's object; false if that has to be tried again.
#[inline(never)]
fn tell(
    recipe: &SpanRecipe,
    layout: &PythonLayout,
    header: &Header,
    scratch: &mut ContextScratch,
) -> bool {
    let span = scratch.span;
    // SAFETY: the index is below the number of classes, a constant of the recipe's type.
    let class = unsafe {
        *recipe
            .classes
            .as_ptr()
            .add(if span.class_index < recipe.classes.len() as u64 {
                span.class_index as usize
            } else {
                0
            })
    };
    let mut name = 0;
    if class.name != NO_ATTRIBUTE {
        name = attribute(&CurrentProcess, scratch, class.name, recipe.name_name).unwrap_or(0);
    }
    let (parent_id, flags) = parent(recipe, class.parent, scratch);
    let root = local_root(&CurrentProcess, recipe, span.context, scratch).unwrap_or(LocalRoot {
        span_id: 0,
        name: 0,
    });
    if root.span_id == span.span_id {
        // The root has one name, whichever span of its request a sample finds first.
        name = root.name;
    } else if root.span_id != 0 {
        // The root's record goes first: the span's record refers to it.
        let key = LiveSpanKey {
            span_id: root.span_id,
            tgid: header.tgid,
            reserved: 0,
        };
        if SEEN_SPANS.get_ptr(&key).is_none() {
            let record = Seen {
                span_id: root.span_id,
                parent_id: 0,
                local_root_id: root.span_id,
                flags: seen::PARENT_UNKNOWN,
                name: root.name,
            };
            if !ship(layout, header, &record, scratch) {
                return false;
            }
            let _ = SEEN_SPANS.insert(&key, &1, 0);
        }
    }
    let record = Seen {
        span_id: span.span_id,
        parent_id,
        local_root_id: root.span_id,
        flags,
        name,
    };
    ship(layout, header, &record, scratch)
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
    bump(Counter::SpanSeen);
    entry.submit(emit::QUIET);
    true
}

/// A name in a record.
struct Name {
    size: u32,
    kind: u32,
    flags: u32,
}

/// Copies the characters of a string into the record.
#[inline(always)]
fn read_name(
    layout: &PythonLayout,
    address: u64,
    scratch: &mut ContextScratch,
    record: *mut SpanSeenRecord,
) -> Name {
    let none = Name {
        size: 0,
        kind: 0,
        flags: 0,
    };
    if address == 0 {
        return none;
    }
    let Some(characters) = characters(&CurrentProcess, layout, address, &mut scratch.object) else {
        return none;
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
        return none;
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

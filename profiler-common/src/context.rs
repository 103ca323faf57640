//! The current span, read out of the interpreter: what `trace.get_current_span()` would return in
//! the thread at this instant.
//!
//! The way: thread state → `context` → its HAMT → the value of OpenTelemetry's context variable, a
//! `Context` (a `dict`) → the value of the current-span key → the span object → its `_context`, a
//! `SpanContext` (a `tuple`) → trace id and span id. Generic over the memory, bounded, and driven by
//! a [`SpanRecipe`] that user space has worked out by looking at the process once. Whatever is not
//! as the recipe says ends the way with a reason: no step is guessed.
//!
//! Facts: `Python/hamt.c`, `Objects/dictobject.c`, `Include/internal/pycore_{hamt,context,dict}.h`
//! of CPython 3.8 to 3.15; `opentelemetry/context` and `opentelemetry/trace/span.py` of
//! OpenTelemetry API 1.20 to 1.45.

#![expect(
    clippy::inline_always,
    reason = "a call passes five arguments at most in BPF, and costs where nothing else does"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "words read are narrowed to the fields that they hold"
)]

use crate::{
    span::state,
    walk::{Block, ReadUser},
    wire::record,
};

/// Span classes a recipe can hold: the SDK's, the API's, and room for an application's own.
pub const MAX_SPAN_CLASSES: usize = 6;
/// Entries of a `Context` looked at; real ones have one to three.
const MAX_CONTEXT_ENTRIES: u64 = 16;
/// Attributes of a span looked at, where they are in a dictionary of its own.
const MAX_ATTRIBUTES: u64 = 32;
/// Levels of a HAMT: 5 bits of a 32-bit hash each, and one of collisions.
const MAX_LEVELS: u32 = 8;
/// Pairs of a collision node looked at.
const MAX_COLLISIONS: u64 = 8;
/// Bytes of an object, or of its head: less than this.
const OBJECT_BLOCK: usize = 128;
/// Bytes read around an object: less than this.
const NEAR_BLOCK: usize = 256;
/// The most of them that are read.
const NEAR: u64 = 248;
/// Bytes of dictionary entries read at once: more than `MAX_ATTRIBUTES` of the larger kind.
const ENTRIES_BLOCK: usize = 1024;

/// Says that a class has no such attribute.
pub const NO_ATTRIBUTE: u8 = u8::MAX;

record! {
    /// How to read the current span of one process. Written by the agent, copied at fork and
    /// removed at exec and exit by the kernel programs.
    SpanRecipe: 312 bytes {
        /// Where the module `opentelemetry.context` keeps its runtime context.
        runtime_context_place: u64,
        /// The runtime context whose variable this is: another one there, and nothing here fits.
        runtime_context: u64,
        /// The context variable of OpenTelemetry's runtime context.
        variable: u64,
        /// The class of its values, `opentelemetry.context.context.Context`.
        context_class: u64,
        /// The key of the current span in a `Context`: a string of its own.
        span_key: u64,
        /// `opentelemetry.trace.span.SpanContext`.
        span_context_class: u64,
        /// The type of HAMT nodes with a bitmap of their children.
        bitmap_node: u64,
        /// The type of HAMT nodes with 32 children.
        array_node: u64,
        /// The type of HAMT nodes whose keys have one hash.
        collision_node: u64,
        /// `None`.
        none: u64,
        /// `True`.
        truth: u64,
        /// The interned string `_context`.
        name_context: u64,
        /// The interned string `_end_time`.
        name_end_time: u64,
        /// The interned string `_name`.
        name_name: u64,
        /// The interned string `_parent`.
        name_parent: u64,
        /// The interned string `_spanprof_local_root`, the attribute of a span's context in which the
        /// hook keeps its local root.
        name_local_root: u64,
        /// The variable's hash, folded as `hamt_hash` does.
        variable_hash: u32,
        /// `PyThreadState.context`.
        thread_context: u16,
        /// `PyTupleObject.ob_item`.
        tuple_items: u16,
        /// Where the values start in `PyDictValues`.
        values_start: u8,
        /// One of [`storage`].
        storage: u8,
        /// Bits of [`dialect`].
        dialect: u8,
        /// Classes in use.
        class_count: u8,
        /// `sizeof(PyObject)`: 32 without the GIL, else 16.
        object_size: u8,
        /// How far in front of an object the pointer to its dictionary is.
        dictionary_in_front: u8,
        /// Where span contexts keep their attributes: one of [`storage`].
        local_root_storage: u8,
        /// Always 0.
        reserved: u8,
        /// Where they keep the local root: its index is in the place of that of `_context`. All 0
        /// where no hook has left one.
        local_root: SpanClass,
        /// The classes of spans that are known.
        classes: [SpanClass; MAX_SPAN_CLASSES],
    }

    /// Where instances of one class of spans keep their attributes.
    SpanClass: 24 bytes {
        /// The class.
        class: u64,
        /// The keys that its instances share.
        keys: u64,
        /// Where the dictionary's pointer (3.10) or the inline values (3.13) lie in an instance.
        offset: u16,
        /// Index of `_context` in the shared keys.
        context: u8,
        /// Index of `_end_time`, or [`NO_ATTRIBUTE`].
        end_time: u8,
        /// Index of `_name`, or [`NO_ATTRIBUTE`].
        name: u8,
        /// Index of `_parent`, or [`NO_ATTRIBUTE`].
        parent: u8,
        /// Always 0.
        reserved: u16,
    }
}

impl SpanRecipe {
    /// Whether a class of spans is known that have an end: those of the SDK. Only once there were
    /// such spans their keys are known.
    pub fn has_recording_class(&self) -> bool {
        let count = usize::from(self.class_count).min(MAX_SPAN_CLASSES);
        self.classes
            .iter()
            .take(count)
            .any(|class| class.end_time != NO_ATTRIBUTE)
    }
}

/// Where an instance keeps its attributes, in [`SpanRecipe::storage`].
pub mod storage {
    /// A pointer to a dictionary, at [`super::SpanClass::offset`] (3.10).
    pub const DICTIONARY: u8 = 0;
    /// A pointer to values 32 bytes in front of the object, or to a dictionary 24 in front (3.11).
    pub const TWO_POINTERS: u8 = 1;
    /// One word 24 bytes in front of the object: values less one, or a dictionary (3.12).
    pub const TAGGED_POINTER: u8 = 2;
    /// Values in the object at [`super::SpanClass::offset`], as long as they are marked valid, or a
    /// pointer to a dictionary in front of it (3.13 and later).
    pub const INLINE: u8 = 3;
    /// A pointer to a dictionary in front of the object, and nowhere else (3.13 and later: objects of
    /// variable size).
    pub const IN_FRONT: u8 = 4;
}

/// How a version writes dictionaries and integers, in [`SpanRecipe::dialect`].
pub mod dialect {
    /// Keys of dictionaries have their size in words and entries of one kind (3.10).
    pub const PLAIN_KEYS: u8 = 1;
    /// Integers count their digits in `ob_size` (before 3.12), else in `lv_tag`.
    pub const SIZED_INTEGERS: u8 = 2;
}

/// Scratch memory of the way: too much for the kernel's stack.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ContextScratch {
    /// An object, or the head of one.
    pub object: Block<OBJECT_BLOCK>,
    /// An object with what lies behind it: a read costs the same, whatever its size.
    pub near: Block<NEAR_BLOCK>,
    /// The address of what `near` holds.
    pub near_start: u64,
    /// Bytes of it that are valid.
    pub near_size: u64,
    /// Keys of a dictionary, or their entries alone.
    pub entries: Block<ENTRIES_BLOCK>,
    /// Where the attributes of the span are.
    pub attributes: Attributes,
    /// What was found.
    pub span: FoundSpan,
    /// The span found last, whoever's it was.
    pub last: LastSpan,
}

/// A span whose trace is known: another one with its id and with the same integer for its trace is itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct LastSpan {
    /// Its id.
    pub span_id: u64,
    /// The address of the integer that is its trace id.
    pub trace: u64,
    /// High half of that.
    pub trace_id_high: u64,
    /// Low half.
    pub trace_id_low: u64,
}

/// Where the attributes of a span are.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes {
    /// Values in the order of the class's keys; 0: in [`ContextScratch::entries`].
    pub values: u64,
    /// Where the entries start there.
    pub start: u64,
    /// Where they end.
    pub end: u64,
    /// Bytes of an entry.
    pub stride: u64,
}

/// What the way has led to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoundSpan {
    /// High half of the trace id.
    pub trace_id_high: u64,
    /// Low half.
    pub trace_id_low: u64,
    /// The span's id.
    pub span_id: u64,
    /// Address of its class.
    pub class: u64,
    /// Index of the class in the recipe.
    pub class_index: u64,
    /// Address of its context, a `SpanContext`.
    pub context: u64,
}

/// A local root, as the hook has left it in the context of each span below it and in its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalRoot {
    /// Its id.
    pub span_id: u64,
    /// Address of its name, a string.
    pub name: u64,
}

impl ContextScratch {
    /// Scratch memory with nothing in it.
    pub const fn zeroed() -> Self {
        Self {
            object: Block::zeroed(),
            near: Block::zeroed(),
            near_start: 0,
            near_size: 0,
            entries: Block::zeroed(),
            attributes: Attributes {
                values: 0,
                start: 0,
                end: 0,
                stride: 0,
            },
            last: LastSpan {
                span_id: 0,
                trace: 0,
                trace_id_high: 0,
                trace_id_low: 0,
            },
            span: FoundSpan {
                trace_id_high: 0,
                trace_id_low: 0,
                span_id: 0,
                class: 0,
                class_index: 0,
                context: 0,
            },
        }
    }
}

/// Reads the current span of a thread; one of [`state`], and with [`state::ACTIVE`] the span is in
/// `scratch.span`.
#[inline(always)]
pub fn current_span<R: ReadUser>(
    reader: &R,
    recipe: &SpanRecipe,
    thread_state: u64,
    scratch: &mut ContextScratch,
) -> u32 {
    scratch.span = FoundSpan::default();
    scratch.near_size = 0;
    let value = match context_value(reader, recipe, thread_state, scratch) {
        Ok(value) => value,
        Err(state) => return state,
    };
    let span = match span_in(reader, recipe, value, scratch) {
        Ok(span) => span,
        Err(state) => return state,
    };
    match ids(reader, recipe, span, scratch) {
        Ok(()) => state::ACTIVE,
        Err(state) => state,
    }
}

/// A word that must be readable.
#[inline(always)]
fn word<R: ReadUser>(reader: &R, address: u64) -> Result<u64, u32> {
    reader.read_u64(address).ok_or(state::CONTEXT_UNREADABLE)
}

/// How many bytes from an address on are read at once: `least` at any rate, and as many more as lie in the
/// same page, since one that is not resident costs a fault.
#[inline(always)]
fn reach(address: u64, least: u64) -> u64 {
    const PAGE: u64 = 4096;
    let room = PAGE - (address & (PAGE - 1));
    let size = if room < NEAR { room } else { NEAR };
    if size < least { least } else { size }
}

/// Reads what lies from an address on into `scratch.near`, `least` bytes at any rate.
#[inline(always)]
fn near<R: ReadUser>(
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
fn word_near<R: ReadUser>(reader: &R, scratch: &ContextScratch, address: u64) -> Result<u64, u32> {
    let at = address.wrapping_sub(scratch.near_start);
    if at.is_multiple_of(8) && at < scratch.near_size && scratch.near_size - at >= 8 {
        return Ok(scratch.near.u64_at(at as u16));
    }
    word(reader, address)
}

/// The value of OpenTelemetry's context variable in the thread's context.
#[inline(always)]
fn context_value<R: ReadUser>(
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
    let context = word(
        reader,
        thread_state.wrapping_add(u64::from(recipe.thread_context)),
    )?;
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

/// The child of a node at an index below 32.
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
    let kind = scratch.near.u64_at(type_offset(recipe));
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

/// The variable's value in a node of keys with one hash.
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
    // Counted up to a constant, and ended by an address: as a minimum of both, which a compiler makes
    // of two counts, older kernels see no bound.
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

/// The current span in a `Context`.
#[inline(always)]
fn span_in<R: ReadUser>(
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

/// The head of a dictionary.
struct Dictionary {
    class: u64,
    used: u64,
    keys: u64,
    values: u64,
}

/// Reads the head of a dictionary.
#[inline(always)]
fn dictionary<R: ReadUser>(
    reader: &R,
    recipe: &SpanRecipe,
    address: u64,
    scratch: &mut ContextScratch,
) -> Result<Dictionary, u32> {
    /// `ma_keys` and `ma_values`, behind `PyObject`; `ma_used` is the first field.
    const KEYS: u16 = 16;
    const VALUES: u16 = 24;
    let object = u16::from(recipe.object_size);
    if !reader.read_part(address, u32::from(object) + 32, &mut scratch.object) {
        return Err(state::CONTEXT_UNREADABLE);
    }
    let block = &scratch.object;
    Ok(Dictionary {
        class: block.u64_at(type_offset(recipe)),
        used: block.u64_at(object),
        keys: block.u64_at(object + KEYS),
        values: block.u64_at(object + VALUES),
    })
}

/// `PyObject.ob_type`: its last field.
#[inline(always)]
pub fn type_offset(recipe: &SpanRecipe) -> u16 {
    u16::from(recipe.object_size).wrapping_sub(8)
}

/// Reads up to `most` entries of a dictionary's keys, and says in `scratch.attributes` how they lie;
/// whether those are all.
#[inline(always)]
fn entries<R: ReadUser>(
    reader: &R,
    recipe: &SpanRecipe,
    keys: u64,
    most: u64,
    scratch: &mut ContextScratch,
) -> Result<bool, u32> {
    /// `DICT_KEYS_GENERAL`: entries with a hash; those of the other kinds have none.
    const GENERAL: u8 = 0;
    // With the entries, where they are few.
    let size = reach(keys, 40);
    if !reader.read_part(keys, size as u32, &mut scratch.entries) {
        return Err(state::CONTEXT_UNREADABLE);
    }
    let head = &scratch.entries;
    let (start, stride, count) = if recipe.dialect & dialect::PLAIN_KEYS != 0 {
        // `dk_size`, `dk_nentries`, `dk_indices`; an index has as many bytes as the size needs.
        let size = head.u64_at(8);
        if size > 0xff {
            return Err(state::CONTEXT_TOO_LARGE);
        }
        (40 + size, 24, head.u64_at(32))
    } else {
        // `dk_log2_index_bytes`, `dk_kind`, `dk_nentries`, `dk_indices`.
        let indices = 1_u64 << (head.u8_at(9) & 31);
        let stride = if head.u8_at(10) == GENERAL { 24 } else { 16 };
        (32 + indices, stride, head.u64_at(24))
    };
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
fn entry(scratch: &ContextScratch, key: u64, most: u64) -> Option<u64> {
    let Attributes {
        start, end, stride, ..
    } = scratch.attributes;
    // An entry ends with key and value, whatever is in front of them.
    let mut at = start.wrapping_add(stride).wrapping_sub(16);
    // Ended by an offset and not by a count: see `collision`.
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

/// The ids of a span, if it has not ended.
#[inline(always)]
fn ids<R: ReadUser>(
    reader: &R,
    recipe: &SpanRecipe,
    span: u64,
    scratch: &mut ContextScratch,
) -> Result<(), u32> {
    let class = look(reader, recipe, recipe.storage, span, scratch)?;
    scratch.span.class = class;
    let (index, found) = find_class(recipe, class).ok_or(state::SPAN_CLASS_UNKNOWN)?;
    scratch.span.class_index = index;
    locate(reader, recipe, recipe.storage, &found, span, scratch)?;
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
    if scratch.object.u64_at(type_offset(recipe)) != recipe.span_context_class {
        return Err(state::CONTEXT_UNEXPECTED);
    }
    let trace = scratch.object.u64_at(recipe.tuple_items);
    let span = scratch.object.u64_at(recipe.tuple_items.wrapping_add(8));
    let (_, span_id) = integer(reader, recipe, span, 3, scratch)?;
    if span_id == 0 {
        // `INVALID_SPAN`.
        return Err(state::NONE);
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
    Ok(())
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

/// The local root of a span, where a hook has left it in the span's context; `None` also where it
/// cannot be read.
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
    if scratch.object.u64_at(u16::from(recipe.object_size)) != 2 {
        return None;
    }
    let name = scratch.object.u64_at(items.wrapping_add(8));
    let span_id = scratch.object.u64_at(items);
    let (_, span_id) = integer(reader, recipe, span_id, 3, scratch).ok()?;
    Some(LocalRoot { span_id, name })
}

/// Reads an object, with the words in front of it where those tell of its attributes; its class.
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
    let class = object.wrapping_add(u64::from(type_offset(recipe)));
    word_near(reader, scratch, class)
}

/// Finds out where the attributes of an instance are that was looked at, and says so in
/// `scratch.attributes`; an error is one of [`state`].
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
        scratch.attributes.values = values.wrapping_add(start);
        if storage != storage::INLINE {
            // A span's attributes are more than fit, and those that are asked for are among the first.
            near(reader, values.wrapping_add(start), 8, scratch)?;
        }
        return Ok(());
    }
    let Dictionary { keys, values, .. } = self::dictionary(reader, recipe, dictionary, scratch)?;
    if values == 0 {
        return if entries(reader, recipe, keys, MAX_ATTRIBUTES, scratch)? {
            Ok(())
        } else {
            Err(state::CONTEXT_TOO_LARGE)
        };
    }
    if keys != class.keys {
        return Err(state::SPAN_CLASS_UNKNOWN);
    }
    scratch.attributes.values = values.wrapping_add(start);
    Ok(())
}

/// The value of an attribute: by its index in the shared keys, or by name in the instance's own; 0
/// where it is not set.
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

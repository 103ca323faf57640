//! The current span, read out of the interpreter: what `trace.get_current_span()` would return in
//! the thread at this instant.
//!
//! The way: thread state → `context` → its HAMT → the value of OpenTelemetry's context variable, a
//! `Context` (a `dict`) → the value of the current-span key → the span object → its `_context`, a
//! `SpanContext` (a `tuple`) → trace id and span id. Generic over the memory, bounded, and driven by
//! a [`SpanRecipe`] that user space has worked out by reading the process's memory once. If anything is not as the
//! recipe says, the walk ends with a reason: no step is guessed.
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

mod dictionary;
mod hamt;
mod memory;
mod object;
mod recipe;
mod scratch;
mod span;

use self::{dictionary::span_in, hamt::context_value, span::ids};
pub use self::{
    dictionary::{DICTIONARY_KEYS, KEYS_HEAD, KeysShape, keys_shape},
    object::{attribute, integer, locate, look},
    recipe::{
        InterpreterKey, MAX_SPAN_CLASSES, NO_ATTRIBUTE, SpanClass, SpanRecipe, UNPROVEN, dialect,
        instances, storage,
    },
    scratch::{Attributes, ContextScratch, FoundSpan, LastSpan},
    span::{LocalRoot, local_root},
};
use crate::{span::state, walk::ReadUser};

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

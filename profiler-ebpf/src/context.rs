//! The current span, read from the interpreter's own context.

mod tell;

use profiler_common::{
    context::{ContextScratch, InterpreterKey, SpanRecipe, current_span},
    outcome::Outcome,
    python::{Process, PythonLayout},
    span::{source, state},
    walk::ReadUser as _,
};

use crate::{maps::CONTEXT_SCRATCH, scratch::SampleScratch, span::Current, user::CurrentProcess};

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
    // Those of a span that is not recorded are 0, unless they were asked for.
    if found.state == state::ACTIVE || found.state == state::NOT_RECORDED {
        found.span_id = scratch.span.span_id;
        found.trace_id_high = scratch.span.trace_id_high;
        found.trace_id_low = scratch.span.trace_id_low;
    }
    if found.state == state::ACTIVE {
        tell::once(recipe, layout, &sample.record.header, scratch);
    }
    found
}

/// A separate function: it needs much of the stack.
#[inline(never)]
fn read(recipe: &SpanRecipe, thread_state: u64, scratch: &mut ContextScratch) -> u32 {
    current_span(&CurrentProcess, recipe, thread_state, scratch)
}

//! Which spans a forked process has begun itself.
//!
//! A forked child has its parent's spans, and goes on in the one that was current. They are another process's: what the
//! child begins below them is a local root. So from the fork on, a child marks the contexts of its own spans. A process
//! that was not forked marks nothing: all spans in it are its own.

use std::sync::atomic::{AtomicU32, Ordering};

use pyo3::types::{PyDict, PyString};
use pyo3::{intern, prelude::*};

use crate::span;

/// The pid of a process that was forked after this module was loaded; 0 in one that was not.
static FORKED: AtomicU32 = AtomicU32::new(0);

/// Has Python call [`_forked`] in each child that it forks.
pub(crate) fn watch(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let py = module.py();
    let forked = wrap_pyfunction!(_forked, module)?;
    // Not every platform forks.
    if let Ok(register) = py.import("os")?.getattr("register_at_fork") {
        let when = PyDict::new(py);
        when.set_item("after_in_child", forked)?;
        register.call((), Some(&when))?;
    }
    Ok(())
}

/// This process was just forked: it has one thread, and no span of its own.
#[pyfunction]
fn _forked() {
    FORKED.store(std::process::id(), Ordering::Relaxed);
}

/// Marks the context of a span that has just begun, if that is necessary.
pub(crate) fn mark(context: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = context.py();
    match FORKED.load(Ordering::Relaxed) {
        0 => Ok(()),
        process => {
            let process = process.into_pyobject(py)?;
            span::add_attribute(context, mark_attribute(py), &process)
        }
    }
}

/// Whether the span of `context` was begun in this process, as far as that is known.
pub(crate) fn is_own(context: &Bound<'_, PyAny>) -> PyResult<bool> {
    let process = FORKED.load(Ordering::Relaxed);
    if process == 0 {
        return Ok(true);
    }
    let mark = context.getattr_opt(mark_attribute(context.py()))?;
    // Anything else was not set by this hook.
    Ok(mark.is_some_and(|mark| mark.extract().is_ok_and(|mark: u32| mark == process)))
}

/// The attribute of a span context that says which process has begun the span.
fn mark_attribute(py: Python<'_>) -> &Bound<'_, PyString> {
    intern!(py, "_spanprof_process")
}

//! Reading OpenTelemetry's span objects.
//!
//! The SDK's private attributes are read first, because its public properties are Python functions
//! and cost ten times as much. Objects that only keep to the public interface work too.

use pyo3::exceptions::PyAttributeError;
use pyo3::types::{PyString, PyTuple};
use pyo3::{ffi, intern, prelude::*};

/// The attribute of a span context that holds its local root's span id.
///
/// The context and not the span, because a child knows its parent's context (`span.parent` *is*
/// that object) but not its parent's span; and an attribute and not a map, because it lives exactly
/// as long as somebody can still start a child, needs no lock and survives a fork.
fn local_root_attribute(py: Python<'_>) -> &Bound<'_, PyString> {
    intern!(py, "_spanprof_local_root")
}

/// The ids of a span context, with the object that holds the span id.
pub(crate) struct Ids<'py> {
    /// The first 16 hex digits of the trace id.
    pub(crate) trace_id_high: u64,
    /// The last 16 hex digits of the trace id.
    pub(crate) trace_id_low: u64,
    /// The span id.
    pub(crate) span_id: u64,
    /// The span id as Python has it.
    pub(crate) span_id_object: Bound<'py, PyAny>,
}

/// The context of `span`.
pub(crate) fn context<'py>(span: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let py = span.py();
    private_or_public(span, intern!(py, "_context"), intern!(py, "context"))
}

/// The context of the parent of `span`, if it has one.
pub(crate) fn parent<'py>(span: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = span.py();
    let parent = private_or_public(span, intern!(py, "_parent"), intern!(py, "parent"))?;
    Ok(if parent.is_none() { None } else { Some(parent) })
}

/// The name of `span`.
pub(crate) fn name<'py>(span: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyString>> {
    let py = span.py();
    let name = private_or_public(span, intern!(py, "_name"), intern!(py, "name"))?;
    Ok(name.cast_into::<PyString>()?)
}

/// The ids in `context`.
pub(crate) fn ids<'py>(context: &Bound<'py, PyAny>) -> PyResult<Ids<'py>> {
    let trace_id = field(context, 0, "trace_id")?;
    let (trace_id_high, trace_id_low) = split(&trace_id)?;
    let span_id_object = field(context, 1, "span_id")?;
    let span_id = span_id_object.extract()?;
    Ok(Ids {
        trace_id_high,
        trace_id_low,
        span_id,
        span_id_object,
    })
}

/// The span id in `context`.
pub(crate) fn span_id(context: &Bound<'_, PyAny>) -> PyResult<u64> {
    field(context, 1, "span_id")?.extract()
}

/// Whether `context` came from another process.
pub(crate) fn is_remote(context: &Bound<'_, PyAny>) -> PyResult<bool> {
    field(context, 2, "is_remote")?.is_truthy()
}

/// Whether `context` is sampled, the lowest bit of the W3C trace flags.
pub(crate) fn is_sampled(context: &Bound<'_, PyAny>) -> PyResult<bool> {
    let trace_flags: u64 = field(context, 3, "trace_flags")?.extract()?;
    Ok(trace_flags & 1 != 0)
}

/// The span id of the local root that was remembered in `context`, if it is known.
pub(crate) fn local_root<'py>(context: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = context.py();
    match context.getattr(local_root_attribute(py)) {
        Ok(local_root) => Ok(Some(local_root)),
        Err(error) if error.is_instance_of::<PyAttributeError>(py) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Remembers the local root of the span that `context` belongs to.
pub(crate) fn set_local_root(
    context: &Bound<'_, PyAny>,
    local_root: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = context.py();
    // The SDK's `SpanContext` ignores assignment, so that nobody changes the ids. They stay as they
    // are; `object`'s own assignment adds our attribute beside them.
    // SAFETY: all three are valid objects borrowed for the call, and the GIL is held.
    let result = unsafe {
        ffi::PyObject_GenericSetAttr(
            context.as_ptr(),
            local_root_attribute(py).as_ptr(),
            local_root.as_ptr(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(PyErr::fetch(py))
    }
}

/// An attribute by its private name, or by its public one where the object does not have that.
fn private_or_public<'py>(
    span: &Bound<'py, PyAny>,
    private: &Bound<'py, PyString>,
    public: &Bound<'py, PyString>,
) -> PyResult<Bound<'py, PyAny>> {
    match span.getattr(private) {
        Err(error) if error.is_instance_of::<PyAttributeError>(span.py()) => span.getattr(public),
        result => result,
    }
}

/// A field of a span context: the SDK's is a tuple, others have the attributes of the specification.
fn field<'py>(
    context: &Bound<'py, PyAny>,
    index: usize,
    name: &str,
) -> PyResult<Bound<'py, PyAny>> {
    match context.cast::<PyTuple>() {
        Ok(tuple) => tuple.get_item(index),
        Err(_) => context.getattr(name),
    }
}

/// The halves of a trace id. An id that does not fit 128 bits is an error, not another id.
fn split(trace_id: &Bound<'_, PyAny>) -> PyResult<(u64, u64)> {
    let high = trace_id.rshift(64)?.extract()?;
    // SAFETY: a valid object borrowed for the call, and the GIL is held.
    let low = unsafe { ffi::PyLong_AsUnsignedLongLongMask(trace_id.as_ptr()) };
    // The call's mark of an error is also a legal id.
    if low == u64::MAX
        && let Some(error) = PyErr::take(trace_id.py())
    {
        return Err(error);
    }
    Ok((high, low))
}

//! Reading OpenTelemetry's span objects.
//!
//! The SDK's private attributes are read first, because its public properties are Python functions
//! and cost ten times as much. Objects that only keep to the public interface work too.

use std::borrow::Cow;

use pyo3::exceptions::PyAttributeError;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple, PyType};
use pyo3::{ffi, intern, prelude::*};

/// The attribute of a span context that holds its local root: a tuple of its span id and its name, or of
/// only the id if the name cannot be read. The agent reads it (`ABI.md`).
///
/// The context and not the span, because a child knows its parent's context (`span.parent` *is*
/// that object) but not its parent's span. An attribute and not a map, because it lives exactly as long
/// as a child can still be started, needs no lock and survives a fork.
pub(crate) fn local_root_attribute(py: Python<'_>) -> &Bound<'_, PyString> {
    intern!(py, "_spanprof_local_root")
}

/// The ids of a span context.
pub(crate) struct Ids {
    /// The first 16 hex digits of the trace id.
    pub(crate) trace_id_high: u64,
    /// The last 16 hex digits of the trace id.
    pub(crate) trace_id_low: u64,
    /// The span id.
    pub(crate) span_id: u64,
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

/// The text of a name. A lone surrogate, which has no place in UTF-8, becomes U+FFFD.
pub(crate) fn text<'name>(name: &'name Bound<'_, PyString>) -> PyResult<Cow<'name, str>> {
    if let Ok(text) = name.to_str() {
        return Ok(Cow::Borrowed(text));
    }
    // SAFETY: a valid string borrowed for the call, and the GIL is held; a new reference or an error is returned.
    let points = unsafe {
        let encoded = ffi::PyUnicode_AsEncodedString(
            name.as_ptr(),
            c"utf-32-le".as_ptr(),
            c"surrogatepass".as_ptr(),
        );
        Bound::from_owned_ptr_or_err(name.py(), encoded)?
    };
    let points = points.cast_into::<PyBytes>()?;
    let (points, _) = points.as_bytes().as_chunks();
    let text = points.iter().map(|&point| {
        char::from_u32(u32::from_le_bytes(point)).unwrap_or(char::REPLACEMENT_CHARACTER)
    });
    Ok(Cow::Owned(text.collect()))
}

/// The ids in `context`.
pub(crate) fn ids(context: &Bound<'_, PyAny>) -> PyResult<Ids> {
    let (trace_id_high, trace_id_low) = split(&field(context, 0, "trace_id")?)?;
    Ok(Ids {
        trace_id_high,
        trace_id_low,
        span_id: span_id(context)?.extract()?,
    })
}

/// The span id in `context`, as Python has it.
pub(crate) fn span_id<'py>(context: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    field(context, 1, "span_id")
}

/// Whether `context` came from another process.
pub(crate) fn is_remote(context: &Bound<'_, PyAny>) -> PyResult<bool> {
    field(context, 2, "is_remote")?.is_truthy()
}

/// The pair for a span that is its own local root.
pub(crate) fn new_local_root<'py>(
    span: &Bound<'py, PyAny>,
    context: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyTuple>> {
    let span_id = span_id(context)?;
    match name(span) {
        Ok(name) => PyTuple::new(span.py(), [span_id, name.into_any()]),
        Err(_) => PyTuple::new(span.py(), [span_id]),
    }
}

/// Whether `context` is sampled, the lowest bit of the W3C trace flags.
pub(crate) fn is_sampled(context: &Bound<'_, PyAny>) -> PyResult<bool> {
    let trace_flags: u64 = field(context, 3, "trace_flags")?.extract()?;
    Ok(trace_flags & 1 != 0)
}

/// The local root that was remembered in `context`, if it is known.
pub(crate) fn local_root<'py>(
    context: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let py = context.py();
    match context.getattr(local_root_attribute(py)) {
        // Anything else was not set by this hook.
        Ok(local_root) => Ok(local_root.cast_into::<PyTuple>().ok()),
        Err(error) if error.is_instance_of::<PyAttributeError>(py) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Remembers the local root of the span that `context` belongs to.
pub(crate) fn set_local_root(
    context: &Bound<'_, PyAny>,
    local_root: &Bound<'_, PyTuple>,
) -> PyResult<()> {
    add_attribute(context, local_root_attribute(context.py()), local_root)
}

/// Adds an attribute of ours to the context of a span.
pub(crate) fn add_attribute(
    context: &Bound<'_, PyAny>,
    name: &Bound<'_, PyString>,
    value: &Bound<'_, PyAny>,
) -> PyResult<()> {
    // The SDK's `SpanContext` ignores assignment, so that the ids cannot be changed. They stay as they
    // are; `object`'s own assignment adds our attribute beside them.
    // SAFETY: all three are valid objects borrowed for the call, and the GIL is held.
    let result =
        unsafe { ffi::PyObject_GenericSetAttr(context.as_ptr(), name.as_ptr(), value.as_ptr()) };
    if result == 0 {
        Ok(())
    } else {
        Err(PyErr::fetch(context.py()))
    }
}

/// An attribute by its private name, or by its public name if the object does not have the private one.
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

/// Sets an attribute of `span` to a short text.
pub(crate) fn set_attribute(
    span: &Bound<'_, PyAny>,
    key: &Bound<'_, PyString>,
    value: &Bound<'_, PyString>,
) -> PyResult<()> {
    if set_attribute_directly(span, key, value).unwrap_or(false) {
        return Ok(());
    }
    let py = span.py();
    span.call_method1(intern!(py, "set_attribute"), (key, value))?;
    Ok(())
}

/// Stores an attribute in the place that the SDK would use; returns whether that was possible.
///
/// The SDK's own way takes two locks and inspects the value's type, a microsecond in Python: more
/// than all the rest of this module. This function bypasses it if the result is the same: a span of the
/// SDK itself (not of a subclass), room for one more attribute, no limit that cuts the value. No lock is
/// needed: no other thread has the span yet, and the assignment is one step under the GIL.
fn set_attribute_directly(
    span: &Bound<'_, PyAny>,
    key: &Bound<'_, PyString>,
    value: &Bound<'_, PyString>,
) -> PyResult<bool> {
    static SPAN: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    static ATTRIBUTES: PyOnceLock<Py<PyType>> = PyOnceLock::new();
    let py = span.py();
    if !span
        .get_type()
        .is(SPAN.import(py, "opentelemetry.sdk.trace", "_Span")?)
    {
        return Ok(false);
    }
    let attributes = span.getattr(intern!(py, "_attributes"))?;
    let expected = ATTRIBUTES.import(py, "opentelemetry.attributes", "BoundedAttributes")?;
    if !attributes.get_type().is(expected) {
        return Ok(false);
    }
    let value_limit = attributes.getattr(intern!(py, "max_value_len"))?;
    if !value_limit.is_none() && value_limit.extract::<usize>()? < value.len()? {
        return Ok(false);
    }
    let entries = attributes.getattr(intern!(py, "_dict"))?;
    let Ok(entries) = entries.cast_exact::<PyDict>() else {
        return Ok(false);
    };
    let limit = attributes.getattr(intern!(py, "maxlen"))?;
    if !limit.is_none() && limit.extract::<usize>()? <= entries.len() {
        return Ok(false);
    }
    entries.set_item(key, value)?;
    Ok(true)
}

//! `spanprof._hook`: the native half of the Python package.
//!
//! OpenTelemetry's tracer for Python is pure Python, so it has no function that a probe could sit
//! on. This module is that function: the SDK calls it when a span starts and ends, and it reads the
//! ids, follows the local root and passes by one nop, which the agent may have replaced. Two calls a
//! span, nothing formatted, no lock, no thread. `ABI.md` is the contract with the agent.

mod failure;
mod fork;
mod probe;
mod process;
mod span;

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};

/// Marks the module for the agent: it looks for this name in `.dynsym` and refuses versions it does
/// not know.
#[unsafe(no_mangle)]
#[used]
#[allow(
    non_upper_case_globals,
    reason = "the name is part of the contract with the agent"
)]
pub static spanprof_abi_v1: u32 = process::ABI_VERSION;

static SPANS_STARTED: AtomicU64 = AtomicU64::new(0);
static SPANS_ENDED: AtomicU64 = AtomicU64::new(0);

/// The hooks that `spanprof.SpanProcessor` puts in front of the SDK's empty ones.
#[pyclass(frozen, subclass, module = "spanprof._hook")]
struct NativeSpanProcessor {
    /// Every span carries a profile id, not only local roots.
    label_active_span: AtomicBool,
}

#[pymethods]
impl NativeSpanProcessor {
    // Accepts any arguments of a subclass's `__init__`; our own `__init__` sets the label.
    #[new]
    #[pyo3(signature = (*_arguments, **_keywords))]
    fn new(_arguments: &Bound<'_, PyAny>, _keywords: Option<&Bound<'_, PyAny>>) -> Self {
        Self {
            label_active_span: AtomicBool::new(false),
        }
    }

    /// Chooses which spans carry a profile id.
    fn _set_label_active_span(&self, label_active_span: bool) {
        self.label_active_span
            .store(label_active_span, Ordering::Relaxed);
    }

    /// Called by the SDK when a span has started, on the thread that started it.
    #[pyo3(signature = (span, parent_context=None))]
    fn on_start(
        &self,
        span: &Bound<'_, PyAny>,
        parent_context: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        // The span knows its parent; the context it was started in says nothing more.
        let _ = parent_context;
        failure::contain(span.py(), "the start of a span", self.start(span))
    }

    /// Called by the SDK when a span has ended, on the thread that ended it.
    #[expect(clippy::unused_self, reason = "the SDK calls it as a method")]
    fn on_end(&self, span: &Bound<'_, PyAny>) -> PyResult<()> {
        failure::contain(span.py(), "the end of a span", end(span))
    }
}

impl NativeSpanProcessor {
    fn start(&self, span: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = span.py();
        SPANS_STARTED.fetch_add(1, Ordering::Relaxed);
        let context = span::context(span)?;
        let parent = Parent::of(span)?;
        // Without one the span is a local root itself. That includes a span below one that this
        // hook has not seen (unsampled, or started before the hook was registered): it is the topmost
        // span that the hook knows. And it includes one below a span of before a fork.
        let local_root = match &parent {
            Parent::Local(parent) if fork::is_own(parent)? => span::local_root(parent)?,
            Parent::Local(_) | Parent::None | Parent::Remote(_) => None,
        };
        let is_local_root = local_root.is_none();
        let local_root = match local_root {
            Some(local_root) => local_root,
            None => span::new_local_root(span, &context)?,
        };
        let local_root_id: u64 = local_root.get_item(0)?.extract()?;

        if process::address() == 0 {
            failure::contain(py, "reading the resource of a span", process::publish(span))?;
        }
        if probe::span_start_wanted() {
            let fired = fire_start(span, &context, &parent, local_root_id);
            failure::contain(py, "reporting the start of a span", fired)?;
        }
        let stored = span::set_local_root(&context, &local_root);
        failure::contain(py, "remembering the local root of a span", stored)?;
        failure::contain(py, "marking a span after a fork", fork::mark(&context))?;
        if is_local_root {
            set_profile_id(span, local_root_id)?;
        } else if self.label_active_span.load(Ordering::Relaxed) {
            set_profile_id(span, span::span_id(&context)?.extract()?)?;
        }
        Ok(())
    }
}

/// What a span knows of the span above it: its context.
enum Parent<'py> {
    /// There is no span above.
    None,
    /// The span above is in this process.
    Local(Bound<'py, PyAny>),
    /// The span above is in another process.
    Remote(Bound<'py, PyAny>),
}

impl<'py> Parent<'py> {
    fn of(span: &Bound<'py, PyAny>) -> PyResult<Self> {
        Ok(match span::parent(span)? {
            None => Self::None,
            Some(parent) if span::is_remote(&parent)? => Self::Remote(parent),
            Some(parent) => Self::Local(parent),
        })
    }
}

/// Reads what only a listener needs, and fires the start of `span`.
// Out of line, so that the path without an agent stays short.
#[inline(never)]
fn fire_start(
    span: &Bound<'_, PyAny>,
    context: &Bound<'_, PyAny>,
    parent: &Parent<'_>,
    local_root_span_id: u64,
) -> PyResult<()> {
    let py = span.py();
    let ids = span::ids(context)?;
    let mut flags = 0;
    if span::is_sampled(context)? {
        flags |= probe::FLAG_SAMPLED;
    }
    let parent_span_id = match parent {
        Parent::None => 0,
        Parent::Local(parent) => span::span_id(parent)?.extract()?,
        Parent::Remote(parent) => {
            flags |= probe::FLAG_REMOTE_PARENT;
            span::span_id(parent)?.extract()?
        }
    };
    // A span without a readable name is still a span.
    let name = span::name(span);
    let name = match name.as_ref().map(span::text) {
        Ok(Ok(name)) => name,
        Ok(Err(error)) => {
            failure::contain(py, "reading the name of a span", Err(error))?;
            flags |= probe::FLAG_NAME_NOT_TEXT;
            Cow::Borrowed("")
        }
        Err(error) => {
            failure::contain(py, "reading the name of a span", Err(error.clone_ref(py)))?;
            flags |= probe::FLAG_NAME_NOT_TEXT;
            Cow::Borrowed("")
        }
    };
    probe::span_start(&probe::SpanStart {
        trace_id_high: ids.trace_id_high,
        trace_id_low: ids.trace_id_low,
        span_id: ids.span_id,
        parent_span_id,
        local_root_span_id,
        name: name.as_ptr().expose_provenance() as u64,
        name_size: name.len() as u64,
        flags,
        process_block: process::address(),
    });
    Ok(())
}

/// Fires the end of `span` if a probe is attached.
fn end(span: &Bound<'_, PyAny>) -> PyResult<()> {
    SPANS_ENDED.fetch_add(1, Ordering::Relaxed);
    if probe::span_end_wanted() {
        let ids = span::ids(&span::context(span)?)?;
        probe::span_end(ids.span_id, ids.trace_id_high, ids.trace_id_low);
    }
    Ok(())
}

/// Sets the attribute that makes Grafana offer the profile of `span`.
fn set_profile_id(span: &Bound<'_, PyAny>, span_id: u64) -> PyResult<()> {
    let py = span.py();
    let mut digits = [0_u8; 16];
    for (digit, shift) in digits.iter_mut().zip((0..64).step_by(4).rev()) {
        let value = (span_id >> shift & 0xf) as u8;
        *digit = if value < 10 {
            b'0' + value
        } else {
            b'a' + value - 10
        };
    }
    let profile_id = PyString::from_bytes(py, &digits)?;
    span::set_attribute(span, intern!(py, "pyroscope.profile.id"), &profile_id)
}

/// How many spans the hook has seen start and end in this process, how many failures it kept out of
/// requests, and whether a probe is attached to `span_start`. A forked child starts from its parent's
/// counts.
#[pyfunction]
fn stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let stats = PyDict::new(py);
    stats.set_item("spans_started", SPANS_STARTED.load(Ordering::Relaxed))?;
    stats.set_item("spans_ended", SPANS_ENDED.load(Ordering::Relaxed))?;
    stats.set_item("failures", failure::count())?;
    stats.set_item("probed", probe::span_start_wanted())?;
    Ok(stats)
}

/// The bytes of the process block, for tests. `None` before the first span.
#[pyfunction]
fn _process_block(py: Python<'_>) -> Option<Bound<'_, PyBytes>> {
    process::published().map(|block| PyBytes::new(py, &block))
}

/// The bytes of the process attributes' entries, for tests. `None` before the first span.
#[pyfunction]
fn _process_attributes(py: Python<'_>) -> Option<Bound<'_, PyBytes>> {
    process::published_attributes().map(|entries| PyBytes::new(py, &entries))
}

/// Makes the probes fire without a listener, for tests and benchmarks.
#[pyfunction]
fn _force_probes(forced: bool) {
    probe::force(forced);
}

/// The native half of `spanprof`.
#[pymodule]
fn _hook(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<NativeSpanProcessor>()?;
    // For the agent: the string object itself that is the attribute's key.
    module.add("_LOCAL_ROOT", span::local_root_attribute(module.py()))?;
    module.add_function(wrap_pyfunction!(stats, module)?)?;
    module.add_function(wrap_pyfunction!(_force_probes, module)?)?;
    module.add_function(wrap_pyfunction!(_process_block, module)?)?;
    fork::watch(module)?;
    module.add_function(wrap_pyfunction!(_process_attributes, module)?)
}

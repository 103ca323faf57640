//! `spanprof._hook`: the native half of the Python package.
//!
//! OpenTelemetry's tracer for Python is pure Python, so it has no function that a probe could sit
//! on. This module is that function: the SDK calls it when a span starts and ends, and it reads the
//! ids, follows the local root and passes by one nop, which the agent may have replaced. Two calls a
//! span, nothing formatted, no lock, no thread. `ABI.md` is the contract with the agent.

mod failure;
mod probe;
mod process;
mod span;

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
    /// Every span carries its own profile id, not only local roots theirs.
    label_active_span: AtomicBool,
}

#[pymethods]
impl NativeSpanProcessor {
    // Takes whatever a subclass's `__init__` takes; the label is set by ours.
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
        let context = span::context(span)?;
        let ids = span::ids(&context)?;
        let parent = span::parent(span)?;

        let mut flags = 0;
        if span::is_sampled(&context)? {
            flags |= probe::FLAG_SAMPLED;
        }
        let mut parent_span_id = 0;
        let mut known_local_root = None;
        if let Some(parent) = &parent {
            parent_span_id = span::span_id(parent)?;
            if span::is_remote(parent)? {
                flags |= probe::FLAG_REMOTE_PARENT;
            } else {
                // A parent this hook has not seen (unsampled, or started before the hook was there)
                // has none: then this span is the topmost one that anybody can ask about.
                known_local_root = span::local_root(parent)?;
            }
        }
        let local_root = known_local_root.as_ref().unwrap_or(&ids.span_id_object);
        let local_root_span_id = match &known_local_root {
            Some(local_root) => local_root.extract()?,
            None => ids.span_id,
        };

        if process::address() == 0 {
            failure::contain(py, "reading the resource of a span", process::publish(span))?;
        }
        // A span without a readable name is still a span.
        let name = span::name(span);
        let name = match &name {
            Ok(name) => name.to_str().map_err(|error| error.clone_ref(py)),
            Err(error) => Err(error.clone_ref(py)),
        };
        let name = match name {
            Ok(name) => name,
            Err(error) => {
                failure::contain(py, "reading the name of a span", Err(error))?;
                ""
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
        SPANS_STARTED.fetch_add(1, Ordering::Relaxed);

        let stored = span::set_local_root(&context, local_root);
        failure::contain(py, "remembering the local root of a span", stored)?;
        if known_local_root.is_none() || self.label_active_span.load(Ordering::Relaxed) {
            set_profile_id(span, ids.span_id)?;
        }
        Ok(())
    }
}

/// Fires the end of `span`.
fn end(span: &Bound<'_, PyAny>) -> PyResult<()> {
    let ids = span::ids(&span::context(span)?)?;
    probe::span_end(ids.span_id, ids.trace_id_high, ids.trace_id_low);
    SPANS_ENDED.fetch_add(1, Ordering::Relaxed);
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
    span.call_method1(
        intern!(py, "set_attribute"),
        (intern!(py, "pyroscope.profile.id"), profile_id),
    )?;
    Ok(())
}

/// How many spans the hook has seen start and end in this process, and how many failures it kept out
/// of requests. A forked child starts from its parent's counts.
#[pyfunction]
fn stats(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let stats = PyDict::new(py);
    stats.set_item("spans_started", SPANS_STARTED.load(Ordering::Relaxed))?;
    stats.set_item("spans_ended", SPANS_ENDED.load(Ordering::Relaxed))?;
    stats.set_item("failures", failure::count())?;
    Ok(stats)
}

/// The bytes of the process block, for tests. `None` before the first span.
#[pyfunction]
fn _process_block(py: Python<'_>) -> Option<Bound<'_, PyBytes>> {
    process::published().map(|block| PyBytes::new(py, &block))
}

/// The native half of `spanprof`.
#[pymodule]
fn _hook(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<NativeSpanProcessor>()?;
    module.add_function(wrap_pyfunction!(stats, module)?)?;
    module.add_function(wrap_pyfunction!(_process_block, module)?)
}

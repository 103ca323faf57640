//! What happens when something goes wrong: it is counted, logged once, and kept out of the request.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pyo3::exceptions::PyException;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// How many failures were kept out of requests.
static FAILURES: AtomicU64 = AtomicU64::new(0);

/// A failure was logged: later ones are only counted, because a broken hook would flood the log.
static LOGGED: AtomicBool = AtomicBool::new(false);

/// How many failures there have been.
pub(crate) fn count() -> u64 {
    FAILURES.load(Ordering::Relaxed)
}

/// Keeps an error of the hook out of the request.
///
/// `KeyboardInterrupt`, `SystemExit`, gevent's timeouts and their like pass: they are not ours, they
/// only happened to arrive here, and swallowing them would make a program that cannot be stopped.
pub(crate) fn contain(py: Python<'_>, doing: &str, result: PyResult<()>) -> PyResult<()> {
    let Err(error) = result else { return Ok(()) };
    if !error.is_instance_of::<PyException>(py) {
        return Err(error);
    }
    FAILURES.fetch_add(1, Ordering::Relaxed);
    if LOGGED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    match log(py, doing, &error) {
        // A logging set-up that fails is no reason to fail a request.
        Err(error) if error.is_instance_of::<PyException>(py) => Ok(()),
        result => result,
    }
}

/// Logs the failure under the package's name.
fn log(py: Python<'_>, doing: &str, error: &PyErr) -> PyResult<()> {
    let options = PyDict::new(py);
    options.set_item("exc_info", error.value(py))?;
    py.import("logging")?
        .call_method1("getLogger", ("spanprof",))?
        .call_method(
            "warning",
            (
                "%s failed; further failures are counted in spanprof.stats() only",
                doing,
            ),
            Some(&options),
        )?;
    Ok(())
}

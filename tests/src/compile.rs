//! Programs in C.

use std::{path::Path, process::Command};

use crate::python::program;

/// Compiles a program of `tests/programs` into a file.
///
/// # Panics
/// Where there is no compiler, or it refuses.
#[expect(
    clippy::expect_used,
    reason = "a test cannot go on without its program"
)]
pub fn compile(source: &str, into: &Path, arguments: &[&str]) {
    let status = Command::new("cc")
        .arg(program(source))
        .arg("-o")
        .arg(into)
        .args(["-O1", "-Wall", "-Werror", "-ldl"])
        .args(arguments)
        .status()
        .expect("there is a C compiler");
    assert!(status.success(), "{source} does not compile");
}

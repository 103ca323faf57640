//! Programs in C.

#![expect(
    clippy::expect_used,
    reason = "a test cannot go on without its program"
)]

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use crate::python::program;

/// Compiles a program of `tests/programs` into a file.
///
/// # Panics
/// If there is no compiler, or it fails.
pub fn compile(source: &str, into: &Path, arguments: &[&str]) {
    compile_all("cc", &[program(source)], into, arguments);
}

/// Compiles source files into a program by a compiler.
///
/// # Panics
/// If there is no such compiler, or it fails.
pub fn compile_all<T: AsRef<OsStr>>(
    compiler: &str,
    sources: &[PathBuf],
    into: &Path,
    arguments: &[T],
) {
    let status = Command::new(compiler)
        .args(sources)
        .arg("-o")
        .arg(into)
        .args(["-O1", "-Wall", "-Werror", "-ldl"])
        .args(arguments)
        .status()
        .expect("there is a C compiler");
    assert!(status.success(), "{sources:?} do not compile");
}

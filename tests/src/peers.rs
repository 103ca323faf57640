//! Other programs that read or write the same formats as spanprof.
//!
//! `SPANPROF_PEERS` is the folder of a virtual environment with `tests/requirements-peers.txt`;
//! `cargo xtask test` makes it. `SPANPROF_GO` is the program `go`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// A program of the environment; skips if there is none.
pub fn program(name: &str) -> Option<PathBuf> {
    let Some(folder) = env::var_os("SPANPROF_PEERS") else {
        crate::skip("SPANPROF_PEERS names no environment: run `cargo xtask test`");
        return None;
    };
    Some(Path::new(&folder).join("bin").join(name))
}

/// Runs `go tool pprof` on a profile; what it prints, or `None` if there is no Go.
///
/// # Panics
/// If it fails.
pub fn pprof(arguments: &[&str], profile: &Path) -> Option<String> {
    let Some(go) = env::var_os("SPANPROF_GO") else {
        crate::skip("SPANPROF_GO names no Go: run `cargo xtask test`");
        return None;
    };
    let output = Command::new(go)
        .args(["tool", "pprof"])
        .args(arguments)
        .arg(profile)
        // Nothing is to be fetched.
        .env("GOTOOLCHAIN", "local")
        .env("GOPROXY", "off")
        .output();
    #[expect(clippy::expect_used, reason = "the test cannot go on without it")]
    let output = output.expect("go starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

//! The harness of the end-to-end tests.

pub mod agent;
pub mod compile;
pub mod container;
pub mod http;
pub mod made_up;
pub mod matrix;
pub mod oracle;
pub mod peers;
pub mod pretend_pyroscope;
pub mod process;
pub mod profile;
pub mod python;
pub mod shop;
pub mod spanprof;

/// Says why a test cannot run here. On CI nothing may be left out: there it fails.
///
/// # Panics
/// Where the environment has `CI`.
#[expect(clippy::print_stderr, reason = "only tests call it")]
pub fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "skipped on CI: {reason}");
    eprintln!("SKIPPED: {reason}");
}

//! How a test says that it cannot run here.

use std::io::Write as _;

use crate::command::is_ci;

/// What a line begins with that says so; `cargo xtask test` counts it as a skipped test, and not as one
/// that has passed, which is what libtest takes it for.
pub const MARK: &str = "SKIPPED: ";

/// Says why a test cannot run here. On CI nothing may be left out: there it fails.
///
/// # Panics
/// On CI, and if nobody reads stdout.
#[expect(
    clippy::expect_used,
    reason = "a skip that is not said would be silent"
)]
pub fn skip(reason: &str) {
    assert!(!is_ci(), "skipped on CI: {reason}");
    // Past the capture of a passing test's output. In one piece, as others may run beside it.
    std::io::stdout()
        .write_all(format!("{MARK}{reason}\n").as_bytes())
        .expect("stdout can be written to");
}

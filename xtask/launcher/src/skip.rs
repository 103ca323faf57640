//! How a test reports that it cannot run here.

use std::io::Write as _;

use crate::command::is_ci;

/// A line with this prefix reports that. `cargo xtask test` then counts the test as skipped; libtest itself
/// counts it as passed.
pub const MARK: &str = "SKIPPED: ";

/// Says why a test cannot run here. On CI nothing may be left out: there it fails.
///
/// # Panics
/// On CI, and if stdout is closed.
#[expect(
    clippy::expect_used,
    reason = "without the message the skip would be silent"
)]
pub fn skip(reason: &str) {
    assert!(!is_ci(), "skipped on CI: {reason}");
    // Written around libtest's capture of output, and in one piece, because other tests may run at the same time.
    std::io::stdout()
        .write_all(format!("{MARK}{reason}\n").as_bytes())
        .expect("stdout can be written to");
}

//! Text for the caller. Its reader may have gone, as that of `spanprof doctor | head` has: that must end
//! nothing, least of all in a panic.

use std::io::{self, ErrorKind, Write as _};

use anyhow::{Context as _, Result};

/// Writes to stdout. A reader that has gone has what it wanted; anything else that fails is an error.
pub fn out(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to standard output"),
    }
}

/// Writes a line to stderr; if that fails there is no reader to tell.
pub fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

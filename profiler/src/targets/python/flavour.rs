//! Ways to build CPython that move its fields.

use std::fmt;

/// How an interpreter was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flavour {
    /// Without the GIL (`--disable-gil`).
    pub free_threaded: bool,
    /// With `Py_DEBUG` (`--with-pydebug`).
    pub debug: bool,
}

impl fmt::Display for Flavour {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match (self.free_threaded, self.debug) {
            (false, false) => "default",
            (true, false) => "free-threaded",
            (false, true) => "debug",
            (true, true) => "free-threaded debug",
        })
    }
}

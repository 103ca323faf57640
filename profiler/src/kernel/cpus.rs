//! The CPUs that are online.

use std::io;

/// All of them.
pub(super) fn online() -> io::Result<Vec<u32>> {
    aya::util::online_cpus().map_err(|(_path, error)| error)
}

/// One of them.
pub(super) fn first() -> io::Result<usize> {
    let first = online()?.first().copied();
    let first = first.and_then(|cpu| usize::try_from(cpu).ok());
    first.ok_or_else(|| io::Error::other("no CPU is online"))
}

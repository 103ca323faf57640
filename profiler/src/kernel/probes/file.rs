//! Files that probes are put on: paths that lead to them, and one to try it on.

use std::{
    io::{self, Write as _},
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::fs::{MemfdFlags, memfd_create};

use crate::arch::{Architecture as _, Machine};

/// A path that leads to this very file as long as the descriptor is open: the kernel's ways to put on probes take
/// nothing but paths, and follow them.
pub(super) fn path_of(file: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Nops in a file that probes are tried on: more than one for each program.
const NOPS: usize = 1024;

/// A file in memory that is all nops, and a path to it.
pub(in crate::kernel) fn file_of_nops() -> io::Result<(OwnedFd, PathBuf)> {
    let name = "spanprof-probe";
    // Where files in memory that may be executed are forbidden, others are not; older kernels do not know them.
    let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::NOEXEC_SEAL)
        .or_else(|_unknown| memfd_create(name, MemfdFlags::CLOEXEC))?;
    let path = path_of(fd.as_fd());
    let mut file = std::fs::File::from(fd);
    file.write_all(&Machine::NOP.repeat(NOPS))?;
    Ok((file.into(), path))
}

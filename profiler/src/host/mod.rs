//! The host that the agent runs on: what it is called, and that one agent runs on it.
//!
//! An agent may run in a container, with the host's processes in sight. So the host is asked by its first
//! process: its namespaces and its root. In: the procfs. Out: a name, and a lock. Must not know processes
//! that are profiled, profiles or servers.

pub mod lock;
pub mod name;

use std::{fs, io, os::fd::OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

pub use self::lock::{Lock, LockFile};

/// The host's pid namespace: `PROC_PID_INIT_INO` of the kernel's `include/linux/proc_ns.h`.
const FIRST_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Whether the processes of the whole host are in sight, and pid 1 is its first.
pub fn sees_processes() -> bool {
    is_namespace("/proc/self/ns/pid", FIRST_PID_NAMESPACE)
}

/// Whether a link of the procfs to a namespace leads to this one.
fn is_namespace(link: &str, namespace: &str) -> bool {
    fs::read_link(link).is_ok_and(|found| found.as_os_str() == namespace)
}

/// The root folder of the first process: the host's, if the agent can see the host's processes.
fn root_of_first_process() -> io::Result<OwnedFd> {
    folder("/proc/1/root")
}

/// A folder, to open files below it.
fn folder(path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(CWD, path, flags, Mode::empty())?)
}

/// Opens a file below a folder as if that were the root; `links` says whether symbolic links are followed.
fn open_below(root: &OwnedFd, path: &str, flags: OFlags, links: bool) -> io::Result<OwnedFd> {
    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    if !links {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    let mode = if flags.contains(OFlags::CREATE) {
        lock::MODE
    } else {
        Mode::empty()
    };
    Ok(openat2(root, path, flags | OFlags::CLOEXEC, mode, resolve)?)
}

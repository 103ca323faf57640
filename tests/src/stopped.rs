//! One thread of another process, stopped as a debugger stops it, while its others go on.

#![expect(
    clippy::missing_panics_doc,
    clippy::expect_used,
    reason = "a test cannot go on without the thread"
)]

use std::{fs, ptr};

use crate::process::eventually;

/// A thread that stands still until this is dropped. Only the thread that has made it may drop it.
#[derive(Debug)]
pub struct Stopped(i32);

impl Stopped {
    /// Stops a thread of a process by its name.
    pub fn thread(pid: u32, name: &str) -> Self {
        // A thread names itself, some time after it was started.
        let tid = eventually(name, || tid_of(pid, name));
        let no = ptr::null_mut::<libc::c_void>();
        // SAFETY: requests of ptrace that pass no memory; the thread belongs to a child of this process.
        unsafe {
            assert_eq!(libc::ptrace(libc::PTRACE_SEIZE, tid, no, no), 0, "seize");
            assert_eq!(libc::ptrace(libc::PTRACE_INTERRUPT, tid, no, no), 0, "stop");
            assert_eq!(
                libc::waitpid(tid, ptr::null_mut(), libc::__WALL),
                tid,
                "wait"
            );
        }
        Self(tid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let no = ptr::null_mut::<libc::c_void>();
        // SAFETY: as above; it fails only if the thread is gone.
        unsafe {
            libc::ptrace(libc::PTRACE_DETACH, self.0, no, no);
        }
    }
}

fn tid_of(pid: u32, name: &str) -> Option<i32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    tasks.flatten().find_map(|task| {
        let comm = fs::read_to_string(task.path().join("comm")).ok()?;
        (comm.trim_end() == name).then(|| task.file_name().to_str()?.parse().ok())?
    })
}

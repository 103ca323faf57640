//! What the procfs says of a process, read with bounds.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};

use super::{FileId, mappings::read_bounded};
use crate::id::{Pid, ProcessKey};

/// Bytes of `cmdline` and of `environ` that are read.
const MAX_TEXT: u64 = 256 << 10;

/// The fields of `/proc/PID/stat` that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Which process.
    pub process: ProcessKey,
    /// Its parent.
    pub parent: Pid,
}

/// `/proc/PID/stat`; `None` when the process is gone.
pub fn stat(pid: Pid) -> Option<Stat> {
    let bytes = read_bounded(Path::new(&format!("/proc/{pid}/stat")), 4096).ok()?;
    parse_stat(pid, &String::from_utf8_lossy(&bytes))
}

/// The command in field 2 may hold blanks and brackets, so fields are counted from its end.
fn parse_stat(pid: Pid, stat: &str) -> Option<Stat> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let parent = Pid(fields.nth(1)?.parse().ok()?);
    // Field 3 is index 0; two are consumed, field 22 is 17 further.
    let start_time = fields.nth(17)?.parse().ok()?;
    Some(Stat {
        process: ProcessKey { pid, start_time },
        parent,
    })
}

/// Which process a thread is of: itself, if it is a process's first. `None` when it is gone.
pub fn process_of(thread: Pid) -> Option<Pid> {
    let bytes = read_bounded(Path::new(&format!("/proc/{thread}/status")), 4096).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    line.trim().parse().ok().map(Pid)
}

/// The processes that a process has started, those that they have started, and so on, as far as none between has ended.
pub fn descendants(pid: Pid) -> BTreeSet<Pid> {
    let mut children: BTreeMap<Pid, Vec<Pid>> = BTreeMap::new();
    for child in pids() {
        if let Some(stat) = stat(child) {
            children.entry(stat.parent).or_default().push(child);
        }
    }
    let (mut found, mut next) = (BTreeSet::new(), vec![pid]);
    while let Some(pid) = next.pop() {
        let its = children.get(&pid).into_iter().flatten();
        next.extend(its.filter(|&&child| found.insert(child)));
    }
    found
}

/// Every process on the host.
pub fn pids() -> Vec<Pid> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid))
        .collect()
}

/// The file that a process executes.
pub fn executable(pid: Pid) -> Option<FileId> {
    let path = format!("/proc/{pid}/exe");
    // What is cached: a file system (FUSE, NFS) is not asked, which may not answer.
    let flags = AtFlags::STATX_DONT_SYNC;
    let status = statx(CWD, path, flags, StatxFlags::INO).ok()?;
    Some(FileId {
        device: u64::from(status.stx_dev_major) << 20 | u64::from(status.stx_dev_minor),
        inode: status.stx_ino,
    })
}

/// A NUL-separated file of the procfs: `cmdline` or `environ`. Empty if it cannot be read.
pub fn strings(pid: Pid, file: &str) -> Vec<Vec<u8>> {
    let bytes = read_bounded(Path::new(&format!("/proc/{pid}/{file}")), MAX_TEXT);
    bytes
        .unwrap_or_default()
        .split(|&byte| byte == 0)
        .map(<[u8]>::to_vec)
        .collect()
}

/// The command's name, `comm`.
pub fn comm(pid: Pid) -> String {
    let bytes = read_bounded(Path::new(&format!("/proc/{pid}/comm")), 64).unwrap_or_default();
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}

/// Names of the threads of a process, each cut to 15 bytes.
pub fn thread_names(pid: Pid) -> impl Iterator<Item = String> {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    threads.into_iter().flatten().flatten().map(|thread| {
        let bytes = read_bounded(&thread.path().join("comm"), 64).unwrap_or_default();
        String::from_utf8_lossy(&bytes).trim_end().to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::{parse_stat, stat};
    use crate::id::Pid;

    /// Blanks and brackets in the command do not shift the fields.
    #[test]
    fn stat_is_parsed_from_the_end_of_the_command() {
        let line = "7 (a) b (c) S 3 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4242 99 1";
        let stat = parse_stat(Pid(7), line).unwrap();
        assert_eq!((stat.parent, stat.process.start_time), (Pid(3), 4242));
    }

    /// This very process is found.
    #[test]
    fn own_stat() {
        assert!(stat(Pid(std::process::id())).unwrap().process.start_time > 0);
    }
}

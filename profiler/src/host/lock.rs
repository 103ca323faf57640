//! One agent per host: two would profile everything twice, and push it under the same names.
//!
//! The lock is the kernel's, on a file of the host: it goes with the process that has it, however that
//! ends, so it is never stale; the file stays and means nothing.

#[cfg(test)]
mod tests;

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        CWD, FileType, FlockOperation, Mode, OFlags, fchmod, flock, fstat, ftruncate, major, minor,
        openat,
    },
    io::Errno,
    process::{geteuid, getpid},
};

use super::{folder, open_below, root_of_first_process, sees_processes};

/// Where the files are, below the root of the host: the one that root makes, and that of a unit whose
/// `RuntimeDirectory` is called like the program. An agent has one of them, and checks the other when it takes it.
const FILES: [&str; 2] = ["run/spanprof-agent.lock", "run/spanprof/agent.lock"];
/// The file's name in a unit's `RuntimeDirectory`.
const NAME: &str = "agent.lock";
/// Root alone may open the file, and so lock it.
pub(super) const MODE: Mode = Mode::from_raw_mode(0o600);
/// Bytes of a file that are read: more than a pid has.
const MAX_PID: u64 = 32;

/// Which file is locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockFile {
    /// The host's.
    OfHost,
    /// That in the runtime directory of a systemd unit, whose user may not write to `/run`.
    OfUnit(PathBuf),
    /// One of the user's choice, to run beside another agent.
    Named(PathBuf),
}

/// This host's only agent, as long as this lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
    /// Those that an agent of another user may have, as far as they were there.
    _others: Vec<OwnedFd>,
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// This is not the host's only agent, or may not be.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another has the lock.
    #[error(
        "another spanprof agent runs on this host: {who}, which holds {path}; stop it first. If both are \
         wanted, because they push to different servers, give this one --lock-file with a file of its own",
        who = pid.map_or_else(|| "its pid is not known".to_owned(), |pid| format!("pid {pid}")),
        path = path.display()
    )]
    Taken {
        /// The file.
        path: PathBuf,
        /// The other's pid, as it told it.
        pid: Option<u32>,
    },
    /// The file cannot be made, opened or locked.
    #[error(
        "cannot lock {path}, by which the agent makes sure that it is the only one on this host: {error}; \
         name another file with --lock-file, or give the systemd unit a RuntimeDirectory=",
        path = path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Another user may have put it there, to keep agents from starting or to have a file overwritten.
    #[error(
        "{path} is not a plain file that the agent's user alone owns: remove it, or name another with --lock-file",
        path = path.display()
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
}

impl Lock {
    /// Takes the lock of this host, or that of another file.
    pub fn take(which: &LockFile) -> Result<Self, LockError> {
        let (file, path) = match which {
            LockFile::Named(path) => (named(path), path.clone()),
            LockFile::OfUnit(folder) => {
                let path = folder.join(NAME);
                (named(&path), path)
            }
            LockFile::OfHost => (of_host(), of_root(FILES[0])),
        };
        let file = file.map_err(|error| LockError::Unusable {
            path: path.clone(),
            error,
        })?;
        let file = lock(file, path)?;
        let others = match which {
            LockFile::Named(_) => Vec::new(),
            LockFile::OfHost | LockFile::OfUnit(_) => others(&file)?,
        };
        Ok(Self {
            file,
            _others: others,
        })
    }
}

/// A path below the host's root, as people write it.
fn of_root(path: &str) -> PathBuf {
    Path::new("/").join(path)
}

/// Locks the files that agents of other users lock, if there are any, so that those see this one; it is enough
/// to be able to read them.
fn others(own: &File) -> Result<Vec<OwnedFd>, LockError> {
    let mut locked = Vec::new();
    let Ok(root) = root_of_first_process() else {
        return Ok(locked);
    };
    let own = fstat(own).map(|it| (it.st_dev, it.st_ino));
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    for path in FILES {
        // If there is no such file, or only its owner may read it, there is no other agent that this one could see.
        let Ok(file) = open_below(&root, path, flags, false) else {
            continue;
        };
        let Ok(status) = fstat(&file) else {
            continue;
        };
        let is_own = own == Ok((status.st_dev, status.st_ino));
        if is_own || !FileType::from_raw_mode(status.st_mode).is_file() {
            continue;
        }
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                let (path, pid) = (of_root(path), pid(file));
                return Err(LockError::Taken { path, pid });
            }
            Ok(()) => locked.push(file),
            Err(error) => tracing::debug!(%error, path, "cannot lock another agent's file"),
        }
    }
    Ok(locked)
}

fn flags() -> OFlags {
    OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// The file of the user's choice; folders on the way may be links, the file itself not.
fn named(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, flags(), MODE)?)
}

/// The file of the host, by the root of its first process; the agent's own root if that is closed.
fn of_host() -> io::Result<OwnedFd> {
    let of_host =
        root_of_first_process().and_then(|root| open_below(&root, FILES[0], flags(), false));
    match of_host {
        Ok(file) if sees_processes() => Ok(file),
        Ok(file) => {
            tracing::info!(
                "the host's processes are not in sight (hostPID): an agent outside of this container is not seen"
            );
            Ok(file)
        }
        Err(error) => {
            tracing::info!(
                %error,
                "/run of the host's first process cannot be used: an agent in another container is not seen"
            );
            open_below(&folder("/")?, FILES[0], flags(), false)
        }
    }
}

fn lock(file: OwnedFd, path: PathBuf) -> Result<File, LockError> {
    let unusable = |error: Errno| LockError::Unusable {
        path: path.clone(),
        error: error.into(),
    };
    let status = fstat(&file).map_err(unusable)?;
    let is_plain = FileType::from_raw_mode(status.st_mode).is_file() && status.st_nlink == 1;
    if !is_plain || status.st_uid != geteuid().as_raw() {
        return Err(LockError::NotOurs { path });
    }
    fchmod(&file, MODE).map_err(unusable)?;
    let mut file = match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => File::from(file),
        Err(Errno::WOULDBLOCK) => {
            let pid = pid(file);
            return Err(LockError::Taken { path, pid });
        }
        Err(error) => return Err(unusable(error)),
    };
    // Only for the next agent to read: the lock holds without it.
    let told = ftruncate(&file, 0)
        .map_err(io::Error::from)
        .and_then(|()| writeln!(file, "{}", getpid()));
    if let Err(error) = told {
        tracing::debug!(%error, "cannot write the pid into the lock's file");
    }
    tracing::debug!(path = %path.display(), "has the lock of this host");
    Ok(file)
}

/// The pid that has the lock: as the kernel says, or as that process wrote. An agent that locks another's file does not write there.
fn pid(file: OwnedFd) -> Option<u32> {
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let status = fstat(&file).ok();
    let holder =
        status.and_then(|it| holder(&locks, major(it.st_dev), minor(it.st_dev), it.st_ino));
    holder.or_else(|| pid_in(file))
}

/// The process that holds a lock of ours on a file, by the lines of `/proc/locks` (`proc_locks(5)`).
fn holder(locks: &str, major: u32, minor: u32, inode: u64) -> Option<u32> {
    let file = format!("{major:02x}:{minor:02x}:{inode}");
    let pid = locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let is_held = fields.next() == Some("FLOCK");
        let pid = fields.nth(2)?;
        (is_held && fields.next() == Some(&file)).then(|| pid.parse().ok())?
    });
    // Of a process that is not in sight there is none.
    pid.filter(|&pid| pid > 0)
}

/// The pid that had the lock last, as that process wrote.
fn pid_in(file: OwnedFd) -> Option<u32> {
    let mut text = String::new();
    let read = File::from(file).take(MAX_PID).read_to_string(&mut text);
    read.ok().and_then(|_| text.trim_end().parse().ok())
}

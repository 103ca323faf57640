//! One agent per host: two would profile everything twice, and push it under the same names.
//!
//! The lock is the kernel's, on a file of the host: it goes with the process that has it, however that
//! ends, so it is never stale; the file stays and means nothing.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, FlockOperation, Mode, OFlags, fchmod, flock, fstat, ftruncate, openat},
    io::Errno,
    process::{geteuid, getpid},
};

use super::{folder, open_below, root_of_first_process, sees_processes};

/// Where the file is, below the root of the host.
const FILE: &str = "run/spanprof-agent.lock";
/// Root alone may open the file, and so lock it.
pub(super) const MODE: Mode = Mode::from_raw_mode(0o600);
/// Bytes of a file that are read: more than a pid has.
const MAX_PID: u64 = 32;

/// This host's only agent, as long as this lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
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
         name another file with --lock-file",
        path = path.display()
    )]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Somebody else may have put it there, to keep agents from starting or to have a file overwritten.
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
    pub fn take(path: Option<&Path>) -> Result<Self, LockError> {
        let (file, path) = match path {
            Some(path) => (named(path), path.to_owned()),
            None => (of_host(), Path::new("/").join(FILE)),
        };
        match file {
            Ok(file) => lock(file, path),
            Err(error) => Err(LockError::Unusable { path, error }),
        }
    }
}

fn flags() -> OFlags {
    OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// The file of the user's choice; folders on the way may be links, the file itself not.
fn named(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, flags(), MODE)?)
}

/// The file of the host, by the root of its first process; the agent's own root where that is closed.
fn of_host() -> io::Result<OwnedFd> {
    let of_host = root_of_first_process().and_then(|root| open_below(&root, FILE, flags(), false));
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
            open_below(&folder("/")?, FILE, flags(), false)
        }
    }
}

fn lock(file: OwnedFd, path: PathBuf) -> Result<Lock, LockError> {
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
    // Only for whoever comes next: the lock holds without it.
    let told = ftruncate(&file, 0)
        .map_err(io::Error::from)
        .and_then(|()| writeln!(file, "{}", getpid()));
    if let Err(error) = told {
        tracing::debug!(%error, "cannot write the pid into the lock's file");
    }
    tracing::debug!(path = %path.display(), "has the lock of this host");
    Ok(Lock { file })
}

/// Who has the lock, as it wrote.
fn pid(file: OwnedFd) -> Option<u32> {
    let mut text = String::new();
    let read = File::from(file).take(MAX_PID).read_to_string(&mut text);
    read.ok().and_then(|_| text.trim_end().parse().ok())
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, Permissions},
        os::{
            fd::AsFd as _,
            unix::fs::{PermissionsExt as _, symlink},
        },
        process::id,
    };

    use rustix::{
        fs::{CWD, Mode, mkfifoat},
        io::{FdFlags, fcntl_getfd},
    };

    use super::{Lock, LockError};

    /// One has it at a time, and says who; it is free again when that is gone, and no child inherits it.
    #[test]
    fn one_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        // As somebody else may have left it, with a longer pid.
        fs::write(&path, "123456789012\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
        let first = Lock::take(Some(&path)).unwrap();
        let flags = fcntl_getfd(first.as_fd()).unwrap();
        assert!(flags.contains(FdFlags::CLOEXEC));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        let error = Lock::take(Some(&path)).unwrap_err();
        assert!(
            matches!(&error, LockError::Taken { pid: Some(pid), .. } if *pid == id()),
            "{error:?}"
        );
        let said = error.to_string();
        assert!(said.contains(&format!("pid {}", id())), "{said}");
        assert!(said.contains("--lock-file"), "{said}");
        drop(first);
        Lock::take(Some(&path)).unwrap();
    }

    /// What may be another's trap is not touched: links of both kinds, and what is no file.
    #[test]
    fn traps() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("precious"), "kept").unwrap();
        symlink(path("precious"), path("symbolic")).unwrap();
        let error = Lock::take(Some(&path("symbolic"))).unwrap_err();
        assert!(matches!(error, LockError::Unusable { .. }), "{error:?}");
        fs::hard_link(path("precious"), path("hard")).unwrap();
        mkfifoat(CWD, path("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        for name in ["hard", "pipe"] {
            let error = Lock::take(Some(&path(name))).unwrap_err();
            assert!(
                matches!(error, LockError::NotOurs { .. }),
                "{name}: {error:?}"
            );
        }
        assert_eq!(fs::read_to_string(path("precious")).unwrap(), "kept");
        let error = Lock::take(Some(&path("missing/lock"))).unwrap_err();
        assert!(error.to_string().contains("--lock-file"), "{error}");
    }
}

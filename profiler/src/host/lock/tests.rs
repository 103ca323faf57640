//! Two holders of one lock.

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

use super::{Lock, LockError, LockFile, holder};

/// Lines as Linux 6.18 writes them: a process that waits holds nothing, and locks of other kinds are not ours.
#[test]
fn holders() {
    let locks = "1: FLOCK  ADVISORY  WRITE 4242 00:1b:77 0 EOF\n\
                 1: -> FLOCK  ADVISORY  WRITE 4243 00:1b:77 0 EOF\n\
                 2: POSIX  ADVISORY  WRITE 7 fd:01:78 0 EOF\n\
                 3: FLOCK  ADVISORY  WRITE 0 fd:01:79 0 EOF\n";
    assert_eq!(holder(locks, 0, 0x1b, 77), Some(4242));
    for (major, minor, inode) in [(0xfd, 1, 78), (0xfd, 1, 79), (0, 0x1b, 7), (0, 0, 77)] {
        assert_eq!(holder(locks, major, minor, inode), None);
    }
}

/// One process has it at a time, and its pid is known; it is free again when that process is gone, and no child inherits it.
#[test]
fn one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    // As another process may have left it, with a longer pid.
    fs::write(&path, "123456789012\n").unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    let first = Lock::take(&LockFile::Named(path.clone())).unwrap();
    let flags = fcntl_getfd(first.as_fd()).unwrap();
    assert!(flags.contains(FdFlags::CLOEXEC));
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let error = Lock::take(&LockFile::Named(path.clone())).unwrap_err();
    assert!(
        matches!(&error, LockError::Taken { pid: Some(pid), .. } if *pid == id()),
        "{error:?}"
    );
    let said = error.to_string();
    assert!(said.contains(&format!("pid {}", id())), "{said}");
    assert!(said.contains("--lock-file"), "{said}");
    drop(first);
    Lock::take(&LockFile::Named(path.clone())).unwrap();
}

/// What may be another's trap is not touched: links of both kinds, and what is no file.
#[test]
fn traps() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let named = |name: &str| LockFile::Named(path(name));
    fs::write(path("precious"), "kept").unwrap();
    symlink(path("precious"), path("symbolic")).unwrap();
    let error = Lock::take(&named("symbolic")).unwrap_err();
    assert!(matches!(error, LockError::Unusable { .. }), "{error:?}");
    fs::hard_link(path("precious"), path("hard")).unwrap();
    mkfifoat(CWD, path("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
    for name in ["hard", "pipe"] {
        let error = Lock::take(&named(name)).unwrap_err();
        assert!(
            matches!(error, LockError::NotOurs { .. }),
            "{name}: {error:?}"
        );
    }
    assert_eq!(fs::read_to_string(path("precious")).unwrap(), "kept");
    let error = Lock::take(&named("missing/lock")).unwrap_err();
    assert!(error.to_string().contains("--lock-file"), "{error}");
}

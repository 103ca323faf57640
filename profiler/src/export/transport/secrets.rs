//! Files that hold secrets and certificates: read when they have changed.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use crate::export::Error;

/// The most bytes of such a file.
const MOST: u64 = 1024 * 1024;

/// What tells one state of a file from another. Kubernetes replaces files by renaming a link on the path to them, so
/// the inode is included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
}

impl State {
    fn of(path: &Path) -> Option<Self> {
        let data = fs::metadata(path).ok()?;
        Some(Self {
            device: data.dev(),
            inode: data.ino(),
            size: data.size(),
            modified: (data.mtime(), data.mtime_nsec()),
        })
    }
}

/// Files that belong together.
#[derive(Debug, Default)]
pub(super) struct Files {
    states: Vec<(PathBuf, Option<State>)>,
}

impl Files {
    /// The files as they are now.
    pub(super) fn new(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let states = paths.into_iter().map(|path| {
            let state = State::of(&path);
            (path, state)
        });
        Self {
            states: states.collect(),
        }
    }

    /// Whether one of them has changed since this was last called.
    pub(super) fn have_changed(&mut self) -> bool {
        let mut changed = false;
        for (path, state) in &mut self.states {
            let now = State::of(path);
            changed |= now != *state;
            *state = now;
        }
        changed
    }
}

/// A file's bytes.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, Error> {
    regular(path).map_err(|source| Error::Read {
        path: path.to_owned(),
        source,
    })
}

/// Reads only a regular file: reading a pipe or a device may never return, and this is read again while the agent runs.
fn regular(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        // Opening a pipe without a writer would wait, too.
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    // The file's size may change between now and the read.
    let size = file.take(MOST + 1).read_to_end(&mut bytes)?;
    if u64::try_from(size).unwrap_or(u64::MAX) > MOST {
        return Err(io::Error::other(format!("it is larger than {MOST} bytes")));
    }
    Ok(bytes)
}

/// A secret: the file's text without the line's end.
pub(super) fn secret(path: &Path) -> Result<String, Error> {
    let text = String::from_utf8(read(path)?).map_err(|_not_text| Error::Header {
        what: "the file with the password or token",
    })?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(Error::NoSecret {
            path: path.to_owned(),
        }),
        secret => Ok(secret.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::PathBuf, sync::mpsc, thread, time::Duration};

    use super::{Files, MOST, secret};

    /// A folder, a pipe without a writer, an endless file, one that is too large and an empty one hold no secret. The
    /// error comes at once.
    #[test]
    fn no_secret() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let pipe = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path("pipe"), pipe, mode, 0).unwrap();
        fs::write(path("empty"), "\r\n").unwrap();
        let large = vec![b'x'; usize::try_from(MOST).unwrap() + 1];
        fs::write(path("large"), large).unwrap();
        for (path, words) in [
            (folder.path().to_owned(), "no regular file"),
            (path("pipe"), "no regular file"),
            (PathBuf::from("/dev/zero"), "no regular file"),
            (path("large"), "larger than"),
            (path("empty"), "nothing in it"),
        ] {
            let (sender, receiver) = mpsc::channel();
            let of = path.clone();
            thread::spawn(move || sender.send(secret(&of)));
            let read = receiver.recv_timeout(Duration::from_secs(60));
            let error = read.expect("it waits").unwrap_err();
            let text = format!("{:#}", anyhow::Error::new(error));
            assert!(text.contains(words), "{text}");
            assert!(text.contains(path.to_str().unwrap()), "{text}");
        }
    }

    /// A file that is written anew, or reached through another link as in Kubernetes, has changed, once.
    #[test]
    fn changes_are_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for version in ["a", "b"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("token"), format!("{version}\r\n")).unwrap();
        }
        symlink(path("a"), path("data")).unwrap();
        let token = path("data").join("token");
        let mut files = Files::new([token.clone(), path("missing")]);
        assert!(!files.have_changed());
        assert_eq!(secret(&token).unwrap(), "a");
        symlink(path("b"), path("next")).unwrap();
        fs::rename(path("next"), path("data")).unwrap();
        assert!(files.have_changed() && !files.have_changed());
        assert_eq!(secret(&token).unwrap(), "b");
        fs::write(&token, "longer").unwrap();
        assert!(files.have_changed());
        fs::write(path("missing"), "").unwrap();
        assert!(files.have_changed() && !files.have_changed());
    }
}

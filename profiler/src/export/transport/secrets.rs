//! Files that hold secrets and certificates: read when they have changed.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::export::Error;

/// Bytes that such a file may have.
const MOST: u64 = 1024 * 1024;

/// What tells one state of a file from another. Kubernetes replaces its files by renaming a link on the
/// way to them, so the inode tells, too.
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

    /// Whether one of them is not as it was when this was last called.
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
    let unreadable = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let data = fs::metadata(path).map_err(unreadable)?;
    if !data.is_file() {
        // To read a pipe would wait for whoever writes.
        return Err(unreadable(io::Error::other("it is not a plain file")));
    }
    if data.len() > MOST {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    fs::read(path).map_err(unreadable)
}

/// A secret: the file's text without the line's end.
pub(super) fn secret(path: &Path) -> Result<String, Error> {
    let text = String::from_utf8(read(path)?).map_err(|_not_text| Error::Header {
        what: "the file with the password or token",
    })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::{Files, secret};

    /// A file that is written anew, or reached by another link as in Kubernetes, has changed, once.
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

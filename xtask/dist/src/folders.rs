//! The folders of a build. It takes place in a copy of the tree: tools that write beside manifests do not change the
//! user's tree, and a second build runs the same way in another folder.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use xtask::workspace::Workspace;

/// The folders of a build.
#[derive(Debug)]
pub(crate) struct Folders {
    /// The copy of the tree.
    pub(crate) source: PathBuf,
    /// Cargo's target folder.
    pub(crate) target: PathBuf,
    /// The folder of what is made.
    pub(crate) out: PathBuf,
}

/// Names of files and folders that are not sources.
const LEFT_OUT: [&str; 5] = ["target", ".git", ".venv", "__pycache__", ".ruff_cache"];

impl Folders {
    /// The folders of a build, by its name.
    pub(crate) fn new(workspace: &Workspace, name: &str) -> Self {
        let folder = workspace.target.join("dist-work").join(name);
        Self {
            source: folder.join("source"),
            target: folder.join("target"),
            out: folder.join("out"),
        }
    }

    /// Copies the tree, and empties the folder of what is made.
    ///
    /// # Errors
    /// A file cannot be copied.
    pub(crate) fn prepare(&self, root: &Path) -> Result<()> {
        if self.out.exists() {
            remove(&self.out)?;
        }
        create(&self.out)?;
        copy_folder(root, &self.source)
    }
}

/// Creates a folder.
pub(crate) fn create(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))
}

/// Writes a file whose folder may not be there yet.
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    if let Some(folder) = path.parent() {
        create(folder)?;
    }
    fs::write(path, bytes).with_context(|| format!("failed to write {}", path.display()))
}

/// Reads a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("failed to read {}", path.display()))
}

/// Puts a copy of a folder into the place of another.
pub(crate) fn replace(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        remove(to)?;
    }
    copy_folder(from, to)
}

/// Files of a folder and its folders, by path.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    Ok(found)
}

/// Makes a folder equal to another. An unchanged file is not written, because cargo compares its time.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    create(to)?;
    let wanted = entries(from)?;
    for path in &wanted {
        let copy = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy_folder(path, &copy)?;
        } else if !is_same(path, &copy)? {
            fs::copy(path, &copy).with_context(|| format!("failed to copy {}", path.display()))?;
        }
    }
    for copy in entries(to)? {
        if !from.join(copy.file_name().unwrap_or_default()).exists() {
            remove(&copy)?;
        }
    }
    Ok(())
}

fn is_same(one: &Path, other: &Path) -> Result<bool> {
    Ok(other.is_file() && read(one)? == read(other)?)
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    removed.with_context(|| format!("failed to remove {}", path.display()))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let list = || {
        let mut paths = Vec::new();
        for entry in folder.read_dir()? {
            let entry = entry?;
            if !LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
                paths.push(entry.path());
            }
        }
        paths.sort();
        Ok::<_, std::io::Error>(paths)
    };
    list().with_context(|| format!("failed to list {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{copy_folder, files, write};

    /// A copy is brought up to date: new files are added, changed ones written, removed ones deleted; unchanged files
    /// keep their time, and files that are not sources are left out.
    #[test]
    fn copies_are_brought_up_to_date() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        write(&from.join("a/same"), "1").unwrap();
        write(&from.join("a/changes"), "1").unwrap();
        write(&from.join("goes/with/its/folder"), "1").unwrap();
        write(&from.join("target/object"), "1").unwrap();
        copy_folder(&from, &to).unwrap();
        let time = || fs::metadata(to.join("a/same")).unwrap().modified().unwrap();
        let before = time();
        write(&from.join("a/changes"), "2").unwrap();
        write(&from.join("b/comes"), "1").unwrap();
        fs::remove_dir_all(from.join("goes")).unwrap();
        copy_folder(&from, &to).unwrap();
        assert_eq!(time(), before);
        let found: Vec<_> = files(&to)
            .unwrap()
            .into_iter()
            .map(|path| path.strip_prefix(&to).unwrap().display().to_string())
            .collect();
        assert_eq!(found, ["a/changes", "a/same", "b/comes"]);
        assert_eq!(fs::read_to_string(to.join("a/changes")).unwrap(), "2");
    }
}

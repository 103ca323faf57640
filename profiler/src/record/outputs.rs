//! The files of a recording: what is wrong with one is better said before the recording than after it.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    config::RecordConfig,
    export::{Destination, FileSink},
    output::complain,
    profile::Profile,
};

/// What a recording writes.
pub(super) struct Outputs {
    files: Vec<Box<dyn Destination>>,
}

impl Outputs {
    /// Those that were asked for.
    pub(super) fn new(config: &RecordConfig) -> Result<Self> {
        let sink = |path: &PathBuf| -> Result<Box<dyn Destination>> {
            let sink = FileSink::new(path, config.sampling.span_label, config.native)?;
            check_folder(path)?;
            Ok(Box::new(sink))
        };
        let files = config.outputs.iter().map(sink).collect::<Result<_>>()?;
        check_distinct(config.outputs.iter().chain(&config.keep_records))?;
        Ok(Self { files })
    }

    /// Writes them. One file that cannot be written does not cost the others.
    pub(super) fn write(&mut self, window: &Arc<[Profile]>) -> Result<()> {
        let mut failed = 0;
        for output in &mut self.files {
            match output.take(window).map_err(anyhow::Error::from) {
                Ok(()) => complain(&format!("wrote {}", output.name())),
                Err(error) => {
                    complain(&format!("{error:#}"));
                    failed += 1;
                }
            }
        }
        if failed > 0 {
            bail!(
                "{failed} of {} outputs could not be written",
                self.files.len()
            );
        }
        Ok(())
    }
}

/// A file that exists from now on, empty.
pub(super) fn create(path: &Path) -> Result<File> {
    File::create(path).with_context(|| format!("cannot create {}", path.display()))
}

fn check_folder(path: &Path) -> Result<()> {
    let folder = folder(path);
    if !folder.is_dir() {
        bail!(
            "cannot write {}: there is no folder {}",
            path.display(),
            folder.display()
        );
    }
    Ok(())
}

/// The folder that a file is in.
fn folder(path: &Path) -> &Path {
    let folder = path.parent();
    folder
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

/// No file is given twice: of two outputs only the later would stay.
fn check_distinct<'a>(paths: impl Iterator<Item = &'a PathBuf>) -> Result<()> {
    let mut known: BTreeMap<(PathBuf, OsString), &Path> = BTreeMap::new();
    for path in paths {
        let Some(before) = known.insert(place(path), path) else {
            continue;
        };
        let (before, again) = (before.display(), path.display());
        if before.to_string() == again.to_string() {
            bail!("{again} is given twice: give each output a file of its own");
        }
        bail!("{before} and {again} are the same file: give each output a file of its own");
    }
    Ok(())
}

/// Where a file is, however its path is spelled. Outputs replace what has their name, and follow no link: so only the
/// way to the folder counts.
fn place(path: &Path) -> (PathBuf, OsString) {
    let folder = folder(path);
    let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    (folder, path.file_name().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::PathBuf};

    use super::check_distinct;

    /// One file by different spellings of its path, and by a folder that is a link, is refused with both; files of one
    /// name in two folders are two.
    #[test]
    fn the_same_file_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("one")).unwrap();
        symlink(path("one"), path("link")).unwrap();
        let check = |names: [&str; 2]| {
            let paths: [PathBuf; 2] = names.map(path);
            check_distinct(paths.iter()).map_err(|error| error.to_string())
        };
        for other in ["one/./a.svg", "one/../one/a.svg", "link/a.svg"] {
            let error = check(["one/a.svg", other]).unwrap_err();
            assert!(
                error.contains("one/a.svg") && error.contains(other),
                "{error}"
            );
        }
        let error = check(["one/a.svg", "one/a.svg"]).unwrap_err();
        assert!(error.contains("is given twice"), "{error}");
        assert_eq!(check(["one/a.svg", "a.svg"]), Ok(()));
        assert_eq!(check(["one/a.svg", "one/a.folded"]), Ok(()));
    }
}

//! Folders that are made once.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher as _};
use std::path::Path;

use anyhow::{Context as _, Result};

/// Makes a folder by `make`, unless it was made with the same `stamp`. A folder with another stamp, or one left
/// unfinished, is removed first.
///
/// # Errors
/// It cannot be made.
pub fn once(folder: &Path, stamp: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let file = folder.join("spanprof.stamp");
    if fs::read_to_string(&file).is_ok_and(|found| found == stamp) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("failed to remove {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("failed to create {}", folder.display()))?;
    make(folder)?;
    // Written last, so that an interrupted folder is made again.
    fs::write(&file, stamp).with_context(|| format!("failed to write {}", file.display()))
}

/// A stamp of everything that determines a folder's content.
pub fn stamp(inputs: impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    inputs.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

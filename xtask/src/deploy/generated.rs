//! Files that are generated from others and kept in the tree, for people and for tools that can only read files.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::workspace::files_below;

/// Files of a folder, and what must be in them.
pub(super) struct Generated {
    /// The folder.
    pub(super) folder: PathBuf,
    /// Names and contents.
    pub(super) files: BTreeMap<String, String>,
    /// Every file with this ending is one of them.
    pub(super) owns: Option<&'static str>,
}

impl Generated {
    /// Writes the files that differ, and removes those that are no longer generated.
    pub(super) fn write(&self) -> Result<()> {
        for file in self.left_over()? {
            fs::remove_file(&file)
                .with_context(|| format!("failed to remove {}", file.display()))?;
        }
        for (name, text) in &self.files {
            let path = self.folder.join(name);
            if !fs::read_to_string(&path).is_ok_and(|found| found == *text) {
                fs::write(&path, text)
                    .with_context(|| format!("failed to write {}", path.display()))?;
            }
        }
        Ok(())
    }

    /// Fails if a file is missing, superfluous or different; the error names the first line that differs.
    pub(super) fn check(&self) -> Result<()> {
        let mut wrong: Vec<String> = self
            .left_over()?
            .iter()
            .map(|file| format!("{} is generated from nothing", file.display()))
            .collect();
        for (name, text) in &self.files {
            let path = self.folder.join(name);
            let found = fs::read_to_string(&path).unwrap_or_default();
            if let Some(line) = first_difference(&found, text) {
                wrong.push(format!("{} differs from line {line} on", path.display()));
            }
        }
        if !wrong.is_empty() {
            bail!(
                "cargo xtask deploy --update writes them again:\n  {}",
                wrong.join("\n  ")
            );
        }
        Ok(())
    }

    fn left_over(&self) -> Result<Vec<PathBuf>> {
        let Some(suffix) = self.owns else {
            return Ok(Vec::new());
        };
        let mut found = files_below(&self.folder, suffix)?;
        found.retain(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            !self.files.contains_key(name.as_ref())
        });
        Ok(found)
    }
}

/// The number of the first line in which two texts differ, from 1; `None` if they are the same.
fn first_difference(one: &str, other: &str) -> Option<usize> {
    if one == other {
        return None;
    }
    let same = one
        .lines()
        .zip(other.lines())
        .take_while(|(one, other)| one == other);
    Some(same.count() + 1)
}

#[cfg(test)]
mod tests {
    use super::first_difference;

    /// If one text ends early, the first difference is the line after its last.
    #[test]
    fn differences() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
        assert_eq!(first_difference("a\n", "a\nb\n"), Some(2));
        assert_eq!(first_difference("", "a\n"), Some(1));
    }
}

//! Checks that a second build, in another folder, makes the same bytes.

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::{Result, bail};
use xtask::{command::say, workspace::Workspace};

use crate::{
    Part,
    folders::{self, Folders},
    make,
    release::Release,
    sums::sha256,
    tools::Tools,
};

pub(super) fn check(
    workspace: &Workspace,
    tools: &Tools,
    release: &Release,
    first: &Folders,
    parts: &[Part],
) -> Result<()> {
    // Its name has another length, so that a path cannot hide in padding.
    let second = Folders::new(workspace, "another-place-to-build-in");
    make(workspace, tools, release, &second, parts)?;
    let (first, second) = (sums(first)?, sums(&second)?);
    let names = first.keys().chain(second.keys());
    let mut differing: Vec<_> = names
        .filter(|name| first.get(*name) != second.get(*name))
        .collect();
    differing.sort();
    differing.dedup();
    if !differing.is_empty() {
        bail!("two builds in two folders differ in {differing:?}");
    }
    say(&format!(
        "two builds in two folders have made the same {} files",
        first.len()
    ));
    Ok(())
}

fn sums(folders: &Folders) -> Result<BTreeMap<PathBuf, String>> {
    let mut sums = BTreeMap::new();
    for path in folders::files(&folders.out)? {
        let name = path.strip_prefix(&folders.out)?.to_path_buf();
        sums.insert(name, sha256(&folders::read(&path)?));
    }
    Ok(sums)
}

//! Checks the binary: static, small, without paths of this machine, and built from the commit and the kernel programs
//! that it names.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail, ensure};
use object::{Object as _, ObjectSection as _, read::elf::ElfFile64};
use xtask::command::{self, say};

use super::sizes;
use crate::{
    binary,
    folders::{self, Folders},
    image,
    release::Release,
    reproducible::Places,
};

/// The largest size of the stripped binary, in bytes.
const MOST_OF_BINARY: usize = 10_000_000;
/// The largest size of the image, with its compressed layer, in bytes.
const MOST_OF_IMAGE: usize = 5_000_000;

pub(super) fn check(release: &Release, folders: &Folders) -> Result<()> {
    print!(
        "{}",
        sizes::table(&folders::read(&binary::unstripped(folders))?)?
    );
    let path = folders.out.join("spanprof");
    let bytes = folders::read(&path)?;
    let image = folders::read(&folders.out.join(image::name(release)))?;
    within("the binary", bytes.len(), MOST_OF_BINARY)?;
    within("the image", image.len(), MOST_OF_IMAGE)?;
    is_static(&bytes)?;
    names_no_path(&bytes, folders)?;
    has_line_tables(&bytes, folders)?;
    says_what_it_is(&path, release)
}

fn within(what: &str, size: usize, most: usize) -> Result<()> {
    say(&format!("{what} has {size} bytes, and may have {most}"));
    ensure!(size <= most, "{what} is too large: {size} bytes of {most}");
    Ok(())
}

fn is_static(bytes: &[u8]) -> Result<()> {
    let elf: ElfFile64<'_> = ElfFile64::parse(bytes)?;
    for section in [".interp", ".symtab", ".debug_line"] {
        ensure!(
            elf.section_by_name(section).is_none(),
            "the binary has {section}"
        );
    }
    ensure!(
        elf.imports()?.next().is_none(),
        "the binary needs a library"
    );
    let list = elf
        .section_by_name(".dep-v0")
        .context("the binary has no list of its crates")?;
    ensure!(
        list.size() > 100,
        "the binary's list of its crates is empty"
    );
    Ok(())
}

fn names_no_path(bytes: &[u8], folders: &Folders) -> Result<()> {
    let places = Places::of(folders)?;
    for path in places.paths() {
        let text = path.to_string_lossy();
        if bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
        {
            bail!("the binary names {text}");
        }
    }
    Ok(())
}

/// A debugger finds the line tables by the build id, and they are of this program.
fn has_line_tables(bytes: &[u8], folders: &Folders) -> Result<()> {
    let elf: ElfFile64<'_> = ElfFile64::parse(bytes)?;
    let files = folders::files(&folders.out.join("debug"))?;
    let [debug] = files.as_slice() else {
        bail!("there are {} files of line tables, not one", files.len());
    };
    let tables = folders::read(debug)?;
    let tables: ElfFile64<'_> = ElfFile64::parse(&*tables)?;
    ensure!(
        tables.build_id()? == elf.build_id()?,
        "the line tables are of another program"
    );
    ensure!(
        tables.section_by_name(".debug_line").is_some(),
        "the file of line tables has none"
    );
    Ok(())
}

fn says_what_it_is(path: &Path, release: &Release) -> Result<()> {
    let said = command::output(Command::new(path).arg("--version"))?;
    let commit = format!("commit: {}", release.commit);
    for line in [&format!("spanprof {}", release.version), &commit] {
        ensure!(
            said.lines().any(|said| said == line),
            "--version does not say {line:?} but {said:?}"
        );
    }
    let short = command::output(Command::new(path).arg("-V"))?;
    ensure!(
        short == format!("spanprof {}\n", release.version),
        "-V says {short:?}"
    );
    Ok(())
}

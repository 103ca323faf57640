//! Checks every wheel: its interpreter accepts its tag, its module needs no more than the tag says, its sites are as
//! the agent needs them, and an agent gets spans from it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use object::{Object as _, read::elf::ElfFile64};
use xtask::{
    build,
    command::{self, say},
    workspace::Workspace,
};

use super::{proof, sites};
use crate::{
    Part,
    folders::{self, Folders},
    tools::Tools,
    wheels::{ALL, Kind, Wheel},
};

/// Versions of glibc's symbols that `manylinux_2_17` may use.
const NEWEST_GLIBC: (u32, u32) = (2, 17);
/// Libraries that a module may need: each kind of system has them.
const NEEDED: [&str; 7] = [
    "libc.so.6",
    "libgcc_s.so.1",
    "libpthread.so.0",
    "libdl.so.2",
    "libm.so.6",
    "ld-linux-x86-64.so.2",
    "libc.so",
];
/// The least number of spans of `proof.py` with the hook; it starts further spans while it waits.
const SPANS: u64 = 10;

/// A program that prints which tags an interpreter accepts; pip's own library is on its path.
const TAGS: &str = "
import sys
sys.path.insert(0, sys.argv[1])
from pip._vendor.packaging.tags import sys_tags
from pip._vendor.packaging.utils import parse_wheel_filename
wanted = parse_wheel_filename(sys.argv[2])[3]
sys.exit(None if wanted & set(sys_tags()) else f'{sys.version} takes none of {sys.argv[2]}')
";

pub(super) fn check(
    workspace: &Workspace,
    tools: &Tools,
    folders: &Folders,
    parts: &[Part],
) -> Result<()> {
    // The agent and the wheels of one release are checked together.
    let agent = if parts.contains(&Part::Agent) {
        folders.out.join("spanprof")
    } else {
        build::agent(workspace, build::QUICK)?
    };
    for wheel in &ALL {
        one(workspace, tools, folders, wheel, &agent)
            .with_context(|| format!("the wheel for {}", wheel.what))?;
    }
    Ok(())
}

fn one(
    workspace: &Workspace,
    tools: &Tools,
    folders: &Folders,
    wheel: &Wheel,
    agent: &Path,
) -> Result<()> {
    let file = wheel.file(&folders.out)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    for (minor, interpreter) in wheel.interpreters()? {
        let mut tags = Command::new(&interpreter);
        tags.args(["-I", "-c", TAGS])
            .arg(site_packages(tools)?)
            .arg(&*name);
        command::run(&mut tags)?;
        let packages = install(workspace, tools, wheel, minor, &file)?;
        let bytes = folders::read(&module(&packages)?)?;
        needs_little(&bytes, wheel.kind)?;
        let sites = sites::check(&bytes)?.join(", ");
        records_a_span(workspace, agent, &interpreter, &packages)
            .with_context(|| format!("CPython 3.{minor}"))?;
        say(&format!(
            "{name} in CPython 3.{minor}: {sites}; a span was recorded"
        ));
    }
    Ok(())
}

/// The path of pip's own library.
fn site_packages(tools: &Tools) -> Result<PathBuf> {
    let script = "import os, pip; print(os.path.dirname(os.path.dirname(pip.__file__)))";
    let python = tools.pip.folder().join("python");
    let folder = command::output(Command::new(python).args(["-I", "-c", script]))?;
    Ok(PathBuf::from(folder.trim()))
}

/// Installs the wheel and OpenTelemetry into a separate folder, as pip does for an interpreter of these tags.
fn install(
    workspace: &Workspace,
    tools: &Tools,
    wheel: &Wheel,
    minor: u8,
    file: &Path,
) -> Result<PathBuf> {
    let folder = workspace
        .target
        .join(format!("dist-work/wheels/{:?}-3.{minor}", wheel.kind));
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    let (tag, platforms) = wheel
        .tag
        .rsplit_once('-')
        .context("a tag has three parts")?;
    let abi = tag.rsplit('-').next().unwrap_or_default();
    let platform = platforms.split('.').next().unwrap_or_default();
    let mut install = tools.pip.install(&[]);
    install
        .args(["--no-deps", "--only-binary=:all:", "--implementation", "cp"])
        .args(["--python-version", &format!("3.{minor}")])
        .args(["--platform", platform, "--abi", abi, "--abi", "none"])
        .arg("--target")
        .arg(&folder)
        .arg("--requirement")
        .arg(workspace.root.join("tests/cells/3.10.txt"))
        .arg(file);
    command::run(&mut install)?;
    Ok(folder)
}

fn module(packages: &Path) -> Result<PathBuf> {
    let files = folders::files(&packages.join("spanprof"))?;
    let mut modules = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|suffix| suffix == "so"));
    modules.next().context("the wheel has no native module")
}

/// Checks that the module needs no library and no symbol of glibc that a system of the tag may lack.
fn needs_little(bytes: &[u8], kind: Kind) -> Result<()> {
    let elf: ElfFile64<'_> = ElfFile64::parse(bytes)?;
    let versions = glibc_versions(bytes);
    if kind == Kind::Musl {
        ensure!(versions.is_empty(), "a module for musl needs {versions:?}");
    } else if let Some(newest) = versions.last() {
        ensure!(*newest <= NEWEST_GLIBC, "the module needs GLIBC {newest:?}");
    } else {
        bail!("the module names no version of glibc, so what it needs is unknown");
    }
    for import in elf.imports()? {
        let library = String::from_utf8_lossy(import?.library()).into_owned();
        ensure!(
            library.is_empty() || NEEDED.contains(&library.as_str()),
            "the module needs {library}"
        );
    }
    Ok(())
}

/// `GLIBC_2.17` and the like, from the version names of the dynamic symbols.
fn glibc_versions(bytes: &[u8]) -> BTreeSet<(u32, u32)> {
    const MARK: &[u8] = b"GLIBC_";
    let starts = bytes.windows(MARK.len()).enumerate();
    let starts = starts.filter(|(_, window)| *window == MARK);
    let version = |(at, _): (usize, &[u8])| {
        let rest = bytes
            .get(at + MARK.len()..)?
            .split(|byte| *byte == 0)
            .next()?;
        let mut numbers = std::str::from_utf8(rest).ok()?.split('.');
        let mut number = || numbers.next()?.parse().ok();
        Some((number()?, number()?))
    };
    starts.filter_map(version).collect()
}

/// Checks that an agent that reads no context gets the spans from the probes.
fn records_a_span(
    workspace: &Workspace,
    agent: &Path,
    interpreter: &Path,
    packages: &Path,
) -> Result<()> {
    let lock = packages.join("lock");
    let environment = [
        ("SPANPROF_LOCK_FILE", lock.as_os_str()),
        ("PYTHONPATH", packages.as_os_str()),
    ];
    let mut record = command::privileged(agent, &environment, "recording")?;
    record
        .args(["record", "--span-probes", "always", "--output"])
        .arg(packages.join("profile.pb.gz"))
        .arg("--")
        .arg(interpreter)
        .arg(workspace.root.join(proof::PROGRAM))
        .arg("hook");
    let table = command::output(&mut record)?;
    proof::shows_the_span(&table)?;
    let started = proof::count(&table, "spans_started");
    ensure!(
        started >= SPANS,
        "the probes reported {started} spans:\n{table}"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::glibc_versions;

    /// Versions are compared as numbers; a name that only begins like a version is ignored.
    #[test]
    fn versions_of_glibc() {
        let bytes = b"\0GLIBC_2.2.5\0libc.so.6\0GLIBC_2.17\0GLIBC_2.9\0GLIBC_PRIVATE\0";
        let versions: Vec<_> = glibc_versions(bytes).into_iter().collect();
        assert_eq!(versions, [(2, 2), (2, 9), (2, 17)]);
    }
}

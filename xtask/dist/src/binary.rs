//! The agent as one static binary, and its line tables in a file beside it.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};
use object::{Object as _, read::elf::ElfFile64};
use xtask::{
    command::{self, say},
    programs,
    workspace::Workspace,
};

use crate::{
    folders::{self, Folders},
    release::Release,
    reproducible::{self, Places},
    sums::hexadecimal,
    tools::Tools,
};

/// The target: a static binary, which needs no library of the system.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-musl";
const PROFILE: &str = "dist";
/// The compiler of ring's C.
const C_COMPILER: &str = "musl-gcc";

/// Builds `spanprof` without symbols, and `debug/.build-id/….debug`; returns the binary's path.
pub(crate) fn build(
    workspace: &Workspace,
    tools: &Tools,
    release: &Release,
    folders: &Folders,
) -> Result<PathBuf> {
    let object = programs::ensure(workspace)?;
    say(&format!(
        "building the agent for {TARGET} in {}",
        folders.source.display()
    ));
    let mut cargo = Command::new(&tools.of_agent()?.auditable);
    cargo
        .args(["auditable", "build", "--locked", "--package", "profiler"])
        .args([
            "--bin",
            "spanprof",
            "--profile",
            PROFILE,
            "--target",
            TARGET,
        ])
        .current_dir(&folders.source)
        .env("CARGO_TARGET_DIR", &folders.target)
        .env(programs::VARIABLE, object)
        .env("CC_x86_64_unknown_linux_musl", C_COMPILER);
    let flags = ["-Clink-arg=-Wl,--build-id=sha1"];
    Places::of(folders)?.apply(&mut cargo, &flags, TARGET, release);
    command::run(&mut cargo)?;
    let built = unstripped(folders);
    let debug = folders.out.join("debug").join(debug_path(&built)?);
    folders::create(debug.parent().unwrap_or(&folders.out))?;
    let keep = ["--only-keep-debug", "--compress-debug-sections=zlib"];
    copy(&built, &debug, &keep)?;
    let binary = folders.out.join("spanprof");
    // Cargo's list of crates is in a section that no program reads.
    copy(&built, &binary, &["--strip-all", "--keep-section=.dep-v0"])?;
    Ok(binary)
}

/// The binary as the linker left it, with its symbols.
pub(crate) fn unstripped(folders: &Folders) -> PathBuf {
    folders.target.join(TARGET).join(PROFILE).join("spanprof")
}

/// The path below their folders where debuggers look for the line tables of a binary.
fn debug_path(binary: &Path) -> Result<PathBuf> {
    let bytes = folders::read(binary)?;
    let elf: ElfFile64<'_> = ElfFile64::parse(&*bytes)?;
    let id = elf.build_id()?.context("the linker has left no build id")?;
    let id = hexadecimal(id);
    let (folder, file) = id.split_at_checked(2).context("the build id is short")?;
    Ok(Path::new(".build-id")
        .join(folder)
        .join(format!("{file}.debug")))
}

/// Copies parts of an ELF file, with the toolchain's own objcopy.
fn copy(from: &Path, to: &Path, what: &[&str]) -> Result<()> {
    const HOST: &str = "lib/rustlib/x86_64-unknown-linux-gnu/bin/rust-objcopy";
    let sysroot = reproducible::sysroot()?;
    let mut objcopy = Command::new(sysroot.join(HOST));
    objcopy
        .args(what)
        .args([from, to])
        // It needs the toolchain's LLVM, but has no path to it.
        .env("LD_LIBRARY_PATH", sysroot.join("lib"));
    command::run(&mut objcopy)
}

//! The object with the kernel programs: the prebuilt one if its sources are unchanged, else a newly built one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Error, Result, bail};

use crate::command::{self, say};
use crate::toolchain;
use crate::workspace::{Workspace, files_below};

#[path = "../../profiler-ebpf/object.rs"]
mod object;

/// The variable that gives `profiler/build.rs` the path of the object.
pub const VARIABLE: &str = "SPANPROF_BPF_OBJECT";
/// The prebuilt object, and the checksums of its inputs.
const PREBUILT: &str = "profiler-ebpf/prebuilt/spanprof-bpf";
const SUMS: &str = "profiler-ebpf/prebuilt/inputs.sha256";
/// Its inputs besides the files of both crates.
const INPUTS: [&str; 6] = [
    "Cargo.toml",
    "Cargo.lock",
    object::PINS,
    "profiler-common/Cargo.toml",
    "profiler-ebpf/Cargo.toml",
    "profiler-ebpf/object.rs",
];

/// Build the kernel programs from source, and compare them with the prebuilt object
///
/// `cargo xtask` embeds the object in profiler-ebpf/prebuilt as long as its sources are unchanged, and then
/// needs neither the BPF toolchain nor bpf-linker. This command fails if the unchanged sources give an object
/// with other bytes.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Write the object and its checksums into the tree
    #[arg(long)]
    update: bool,
}

/// Runs the subcommand.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let workspace = Workspace::locate()?;
    let built = build(&workspace)?;
    let prebuilt = workspace.root.join(PREBUILT);
    if arguments.update {
        fs::create_dir_all(workspace.root.join("profiler-ebpf/prebuilt"))?;
        fs::copy(&built, &prebuilt)
            .with_context(|| format!("failed to write {}", prebuilt.display()))?;
        let sums = sums(&workspace)?;
        fs::write(workspace.root.join(SUMS), sums)
            .with_context(|| format!("failed to write {SUMS}"))?;
        say(&format!("wrote {PREBUILT} and {SUMS}"));
        return Ok(());
    }
    check(&workspace, &built)
}

/// Fails if the prebuilt object would be used and differs from the one that was built.
pub(crate) fn check(workspace: &Workspace, built: &Path) -> Result<()> {
    if !is_current(workspace)? {
        say(&format!(
            "{PREBUILT} was built from other sources, so it is not used (cargo xtask programs --update rebuilds it)"
        ));
        return Ok(());
    }
    if fs::read(built)? != fs::read(workspace.root.join(PREBUILT))? {
        bail!(
            "{PREBUILT} is not what its sources make: {}",
            built.display()
        );
    }
    say(&format!(
        "{PREBUILT} is what its sources make, byte for byte"
    ));
    Ok(())
}

/// The object to embed in the agent, and whether it is the prebuilt one or was just built.
///
/// # Errors
/// It has to be built and cannot.
pub fn ensure(workspace: &Workspace) -> Result<PathBuf> {
    if is_current(workspace)? {
        return Ok(workspace.root.join(PREBUILT));
    }
    if !built(workspace).is_file() {
        say("the kernel programs were changed since the prebuilt object: building them, too");
    }
    build(workspace)
}

/// Builds it from source, even if the prebuilt one is up to date.
pub(crate) fn build(workspace: &Workspace) -> Result<PathBuf> {
    let linker = toolchain::ensure_bpf(workspace)?;
    let build = object::Build {
        root: &workspace.root,
        target: &workspace.target.join("bpf"),
        tools: linker.parent(),
    };
    let bytes = build.run().map_err(Error::msg)?;
    let path = built(workspace);
    // An unchanged file is not written again, because cargo would then recompile the agent.
    if !fs::read(&path).is_ok_and(|found| found == bytes) {
        fs::write(&path, bytes).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(path)
}

fn built(workspace: &Workspace) -> PathBuf {
    workspace.target.join("bpf").join(object::NAME)
}

/// The BPF target, for clippy.
pub(crate) const TARGET: &str = object::TARGET;

/// The flag that tells the crates which machine they are built for.
pub(crate) const MACHINE: &str = object::MACHINE;

/// Do the prebuilt object and its inputs in the tree still have the recorded checksums?
fn is_current(workspace: &Workspace) -> Result<bool> {
    let Ok(recorded) = fs::read_to_string(workspace.root.join(SUMS)) else {
        return Ok(false);
    };
    Ok(workspace.root.join(PREBUILT).is_file() && sums(workspace)? == recorded)
}

/// Checksums of the inputs and of the object, as `sha256sum --check` reads them from the root.
fn sums(workspace: &Workspace) -> Result<String> {
    let mut files: Vec<PathBuf> = INPUTS.iter().map(PathBuf::from).collect();
    for folder in ["profiler-common/src", "profiler-ebpf/src"] {
        for file in files_below(&workspace.root.join(folder), "rs")? {
            files.push(file.strip_prefix(&workspace.root)?.to_path_buf());
        }
    }
    files.push(PathBuf::from(PREBUILT));
    command::output(
        Command::new("sha256sum")
            .args(&files)
            .current_dir(&workspace.root),
    )
}

//! The pinned toolchains and tools, and how each is installed when it is missing.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Error, Result};
use launcher::cache::Installed;
use launcher::pins::Pins;
use launcher::toolchain::Toolchain;

use crate::command::{self, say};
use crate::workspace::Workspace;

/// A tool of the workspace that cargo installs.
#[derive(Debug)]
pub struct Tool {
    /// The crate, which is also the program.
    name: &'static str,
    /// The version that is wanted, exactly.
    version: fn(&Pins) -> &str,
}

/// Links the BPF programs.
const BPF_LINKER: Tool = Tool {
    name: "bpf-linker",
    version: |pins| &pins.bpf_linker,
};

/// Checks licences and sources of dependencies.
pub(crate) const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    version: |pins| &pins.cargo_deny,
};

/// Makes Debian's packages.
pub const CARGO_DEB: Tool = Tool {
    name: "cargo-deb",
    version: |pins| &pins.cargo_deb,
};

/// Makes Red Hat's packages.
pub const CARGO_GENERATE_RPM: Tool = Tool {
    name: "cargo-generate-rpm",
    version: |pins| &pins.cargo_generate_rpm,
};

/// Makes cargo embed the list of crates in the programs it builds.
pub const CARGO_AUDITABLE: Tool = Tool {
    name: "cargo-auditable",
    version: |pins| &pins.cargo_auditable,
};

/// Writes bills of materials.
pub const CARGO_CYCLONEDX: Tool = Tool {
    name: "cargo-cyclonedx",
    version: |pins| &pins.cargo_cyclonedx,
};

/// Installs components of the stable toolchain, which has neither clippy nor rustfmt at first.
pub(crate) fn ensure_stable(workspace: &Workspace, components: &[&str]) -> Result<()> {
    let name = &workspace.pins.stable;
    Toolchain { name, components }.ensure().map_err(Error::msg)
}

/// Adds a target to the toolchain that runs this, unless it is installed.
///
/// # Errors
/// rustup cannot fetch it.
pub fn ensure_target(workspace: &Workspace, target: &str) -> Result<()> {
    let mut libraries = Command::new("rustc");
    libraries
        .args(["--print", "target-libdir", "--target", target])
        .current_dir(&workspace.root);
    if PathBuf::from(command::output(&mut libraries)?.trim()).is_dir() {
        return Ok(());
    }
    let stable = &workspace.pins.stable;
    command::run(Command::new("rustup").args(["target", "add", target, "--toolchain", stable]))?;
    Installed::Target(stable.clone(), target.to_owned())
        .note()
        .map_err(Error::msg)
}

/// The toolchain of the BPF crate.
pub(crate) fn bpf_toolchain<'a>(
    workspace: &'a Workspace,
    components: &'a [&'a str],
) -> Toolchain<'a> {
    Toolchain {
        name: &workspace.pins.nightly,
        components,
    }
}

/// Installs everything that building the kernel programs needs; returns the linker's path.
pub(crate) fn ensure_bpf(workspace: &Workspace) -> Result<PathBuf> {
    bpf_toolchain(workspace, &["rust-src"])
        .ensure()
        .map_err(Error::msg)?;
    ensure_tool(workspace, &BPF_LINKER)
}

/// Installs `tool` under the target folder, unless the right version is there or on `PATH`.
///
/// # Errors
/// It cannot be fetched, or does not compile.
pub fn ensure_tool(workspace: &Workspace, tool: &Tool) -> Result<PathBuf> {
    let version = (tool.version)(&workspace.pins);
    let own = workspace.tools().join("bin").join(tool.name);
    // Some programs cannot print their version.
    if own.is_file() && was_installed(workspace, tool.name, version) {
        return Ok(own);
    }
    let candidates = [Some(own.clone()), command::find_on_path(tool.name)];
    for candidate in candidates.into_iter().flatten() {
        if is_version(&candidate, version) {
            return Ok(candidate);
        }
    }
    say(&format!(
        "installing {} {version}: about a minute, once",
        tool.name
    ));
    command::run(
        workspace
            .cargo()?
            .args([
                "install",
                tool.name,
                "--version",
                version,
                "--locked",
                "--root",
            ])
            .arg(workspace.tools())
            // A separate target folder: the tool's artefacts would crowd ours.
            .env("CARGO_TARGET_DIR", workspace.tools().join("build"))
            // It runs for seconds: optimising it takes longer than it saves.
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "none")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    )?;
    Ok(own)
}

/// Did cargo install this version under the target folder? It keeps a list of what it has installed there.
fn was_installed(workspace: &Workspace, name: &str, version: &str) -> bool {
    let list = fs::read_to_string(workspace.tools().join(".crates.toml")).unwrap_or_default();
    list.contains(&format!("\"{name} {version} ("))
}

/// Does `program --version` say `version`?
fn is_version(program: &PathBuf, version: &str) -> bool {
    command::probe(Command::new(program).arg("--version"))
        .is_some_and(|said| said.split_whitespace().any(|word| word == version))
}

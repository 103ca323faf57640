//! The pinned toolchains and tools, and how each is installed when it is missing.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Error, Result};
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

/// Installs components of the stable toolchain, which has neither clippy nor rustfmt at first.
pub(crate) fn ensure_stable(workspace: &Workspace, components: &[&str]) -> Result<()> {
    let name = &workspace.pins.stable;
    Toolchain { name, components }.ensure().map_err(Error::msg)
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

/// Installs all that building the kernel programs takes; the linker's path.
pub(crate) fn ensure_bpf(workspace: &Workspace) -> Result<PathBuf> {
    bpf_toolchain(workspace, &["rust-src"])
        .ensure()
        .map_err(Error::msg)?;
    ensure_tool(workspace, &BPF_LINKER)
}

/// Installs `tool` under the target folder, unless the right version is there or on `PATH`.
pub(crate) fn ensure_tool(workspace: &Workspace, tool: &Tool) -> Result<PathBuf> {
    let version = (tool.version)(&workspace.pins);
    let own = workspace.tools().join("bin").join(tool.name);
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
            // The tool is no part of our build: its artefacts would crowd the target folder.
            .env("CARGO_TARGET_DIR", workspace.tools().join("build"))
            // It runs for seconds: compiling it well takes longer than it saves.
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "none")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    )?;
    Ok(own)
}

/// Does `program --version` say `version`?
fn is_version(program: &PathBuf, version: &str) -> bool {
    command::probe(Command::new(program).arg("--version"))
        .is_some_and(|said| said.split_whitespace().any(|word| word == version))
}

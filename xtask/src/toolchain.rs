//! The pinned toolchains and tools, and how each is installed when it is missing.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::{self, say};
use crate::workspace::Workspace;

/// The toolchain of the BPF crate: `-Z build-std` needs a nightly.
///
/// Later nightlies emit LLVM 23 bitcode, which [`BPF_LINKER`] cannot read. Both pins move
/// together, once a bpf-linker that reads it can be built without a system LLVM.
pub(crate) const BPF_TOOLCHAIN: &str = "nightly-2026-08-01";

/// The BPF target of a little-endian machine.
pub(crate) const BPF_TARGET: &str = "bpfel-unknown-none";

/// A tool of the workspace that cargo installs.
pub(crate) struct Tool {
    /// The crate, which is also the program.
    pub(crate) name: &'static str,
    /// The version that is wanted, exactly.
    pub(crate) version: &'static str,
}

/// Links the BPF programs. From 0.11 on it wants LLVM 23 on the system.
pub(crate) const BPF_LINKER: Tool = Tool {
    name: "bpf-linker",
    version: "0.10.4",
};

/// Checks licences, advisories and sources of dependencies.
pub(crate) const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
};

/// Installs the stable toolchain that `rust-toolchain.toml` names, if it is missing.
pub(crate) fn ensure_stable(workspace: &Workspace) -> Result<()> {
    let path = workspace.root.join("rust-toolchain.toml");
    let text =
        fs::read_to_string(&path).with_context(|| format!("failed to read {}", path.display()))?;
    let channel = channel(&text).with_context(|| format!("{} names no channel", path.display()))?;
    ensure_toolchain(channel, &["clippy", "rustfmt"])
}

/// Installs the toolchain of the BPF crate, if it is missing.
pub(crate) fn ensure_bpf_toolchain() -> Result<()> {
    ensure_toolchain(BPF_TOOLCHAIN, &["rust-src"])
}

/// Installs clippy for the BPF crate, if it is missing: only linting asks for it.
pub(crate) fn ensure_bpf_clippy() -> Result<()> {
    ensure_toolchain(BPF_TOOLCHAIN, &["rust-src", "clippy"])
}

/// Installs all that building the agent takes.
pub(crate) fn ensure_build(workspace: &Workspace) -> Result<()> {
    ensure_stable(workspace)?;
    ensure_bpf_toolchain()?;
    ensure_tool(workspace, &BPF_LINKER)?;
    Ok(())
}

/// Installs `tool` under the target folder, unless the right version is there or on `PATH`.
pub(crate) fn ensure_tool(workspace: &Workspace, tool: &Tool) -> Result<PathBuf> {
    let own = workspace.tools().join("bin").join(tool.name);
    let candidates = [Some(own.clone()), command::find_on_path(tool.name)];
    for candidate in candidates.into_iter().flatten() {
        if is_version(&candidate, tool.version) {
            return Ok(candidate);
        }
    }
    say(&format!(
        "installing {} {} (some minutes, once)",
        tool.name, tool.version
    ));
    command::run(
        workspace
            .cargo()?
            .args([
                "install",
                tool.name,
                "--version",
                tool.version,
                "--locked",
                "--root",
            ])
            .arg(workspace.tools())
            // The tool is no part of our build: its artefacts would crowd the target folder.
            .env("CARGO_TARGET_DIR", workspace.tools().join("build")),
    )?;
    Ok(own)
}

/// Does `program --version` say `version`?
fn is_version(program: &PathBuf, version: &str) -> bool {
    command::probe(Command::new(program).arg("--version"))
        .is_some_and(|said| said.split_whitespace().any(|word| word == version))
}

/// Installs `toolchain` with `components`, if any of it is missing.
fn ensure_toolchain(toolchain: &str, components: &[&str]) -> Result<()> {
    let installed = command::probe(Command::new("rustup").args([
        "component",
        "list",
        "--installed",
        "--toolchain",
        toolchain,
    ]));
    let has = |component: &str| {
        installed
            .as_deref()
            .is_some_and(|list| list.lines().any(|line| line.starts_with(component)))
    };
    if components.iter().all(|component| has(component)) {
        return Ok(());
    }
    if command::find_on_path("rustup").is_none() {
        bail!("toolchain {toolchain} is needed and rustup is missing: see https://rustup.rs");
    }
    say(&format!(
        "installing toolchain {toolchain} with {}",
        components.join(", ")
    ));
    let mut install = Command::new("rustup");
    install.args([
        "toolchain",
        "install",
        toolchain,
        "--profile",
        "minimal",
        "--no-self-update",
    ]);
    for component in components {
        install.args(["--component", component]);
    }
    command::run(&mut install)
}

/// The value of `channel = "…"` in a `rust-toolchain.toml`.
fn channel(text: &str) -> Option<&str> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("channel"))
        .find_map(|rest| rest.split('"').nth(1))
}

#[cfg(test)]
mod tests {
    use super::channel;

    /// The channel is found among comments and other keys.
    #[test]
    fn channel_is_read() {
        let text = "# pinned\n[toolchain]\nchannel = \"1.98.0\"\nprofile = \"minimal\"\n";
        assert_eq!(channel(text), Some("1.98.0"));
        assert_eq!(channel("[toolchain]\n"), None);
    }
}

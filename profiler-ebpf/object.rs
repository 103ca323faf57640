//! How the kernel programs become one object file: shared by `profiler/build.rs` and `cargo xtask`.
//!
//! Comes in: the crate's sources. Goes out: a BPF object with BTF and without DWARF, whose bytes depend on
//! the sources and the pinned tools alone, not on where they lie. The standard library only: it is a part
//! of a build script.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The file in the root of the workspace that pins the toolchain.
pub(crate) const PINS: &str = "toolchains.toml";
/// The object's name, and the crate's binary.
pub(crate) const NAME: &str = "spanprof-bpf";
/// The BPF target of a little-endian machine.
pub(crate) const TARGET: &str = "bpfel-unknown-none";
/// What tells the crates which machine the programs are for.
pub(crate) const MACHINE: &str = "--cfg=bpf_target_arch=\"x86_64\"";
/// What links it.
const LINKER: &str = "bpf-linker";
/// What is missing is installed by this.
const SETUP: &str = "cargo xtask setup";

/// What a build takes.
#[derive(Debug)]
pub(crate) struct Build<'a> {
    /// The root of the workspace.
    pub(crate) root: &'a Path,
    /// Cargo's target folder for the BPF crate, its own: the agent's build holds a lock on the other.
    pub(crate) target: &'a Path,
    /// The folder of the bpf-linker to use, if it is not the one on `PATH`.
    pub(crate) tools: Option<&'a Path>,
}

impl Build<'_> {
    /// Builds the object and returns its bytes; cargo tells how far it is on stderr.
    ///
    /// # Errors
    /// The toolchain or the linker is missing, which is said with what installs it; or the build fails.
    pub(crate) fn run(&self) -> Result<Vec<u8>, String> {
        let nightly = self.nightly()?;
        let sysroot = Self::sysroot(&nightly)?;
        let path = self.path()?;
        let status = self
            .cargo(&nightly, &sysroot)
            .env("PATH", path)
            .status()
            .map_err(|error| format!("failed to start rustup: {error}"))?;
        if !status.success() {
            return Err("the kernel programs do not build; cargo says why above".to_owned());
        }
        let built = self.target.join(TARGET).join("release").join(NAME);
        strip(&sysroot, &built)
    }

    /// The nightly of the pins.
    fn nightly(&self) -> Result<String, String> {
        let path = self.root.join(PINS);
        let text = fs::read_to_string(&path)
            .map_err(|error| format!("failed to read {}: {error}", path.display()))?;
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(name, _)| name.trim() == "nightly")
            .map(|(_, value)| value.trim().trim_matches('"').to_owned())
            .ok_or_else(|| format!("{} pins no nightly", path.display()))
    }

    /// Where the toolchain is, with the sources of core in it.
    fn sysroot(nightly: &str) -> Result<PathBuf, String> {
        let output = Command::new("rustup")
            .args(["run", nightly, "rustc", "--print", "sysroot"])
            .env_remove("RUSTC")
            .stderr(Stdio::null())
            .output()
            .map_err(|error| {
                format!("the kernel programs are built by rustup, which does not start: {error}")
            })?;
        let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        if !output.status.success() || !sysroot.join("lib/rustlib/src/rust/library").is_dir() {
            return Err(format!(
                "the kernel programs need toolchain {nightly} with rust-src, which is missing; \
                 to install it: {SETUP}"
            ));
        }
        Ok(sysroot)
    }

    /// `PATH` with the linker on it.
    fn path(&self) -> Result<OsString, String> {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> = self
            .tools
            .map(Path::to_path_buf)
            .into_iter()
            .chain(env::split_paths(&path))
            .collect();
        if !folders.iter().any(|folder| folder.join(LINKER).is_file()) {
            return Err(format!(
                "the kernel programs need {LINKER}, which is missing; to install it: {SETUP}"
            ));
        }
        env::join_paths(folders).map_err(|error| format!("PATH for {LINKER}: {error}"))
    }

    fn cargo(&self, nightly: &str, sysroot: &Path) -> Command {
        let mut cargo = Command::new("rustup");
        cargo
            .args(["run", nightly, "cargo", "build", "--release", "--locked"])
            .args(["--package", "profiler-ebpf", "--bin", NAME])
            .args(["--target", TARGET, "-Z", "build-std=core", "--target-dir"])
            .arg(self.target)
            .current_dir(self.root)
            .env("CARGO_ENCODED_RUSTFLAGS", self.flags(sysroot))
            // Cargo's output is for people here, and a build script's stdout for cargo.
            .stdout(Stdio::null())
            .stdin(Stdio::null());
        // What cargo tells a build script is meant for its own build.
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            let is_profile = text.starts_with("CARGO_PROFILE_");
            let is_build = text.starts_with("CARGO_CFG_") || text.starts_with("CARGO_FEATURE_");
            let is_tool = [
                "RUSTC",
                "RUSTC_WORKSPACE_WRAPPER",
                "RUSTDOC",
                "CARGO",
                "RUSTFLAGS",
            ];
            if is_profile || is_build || is_tool.contains(&text.as_ref()) {
                cargo.env_remove(&name);
            }
        }
        cargo
            .env_remove("CARGO_BUILD_TARGET")
            .env_remove("RUSTUP_TOOLCHAIN");
        cargo
    }

    /// Debug information becomes BTF; the places of sources, which it names, are those of everybody.
    fn flags(&self, sysroot: &Path) -> OsString {
        const SEPARATOR: &str = "\u{1f}";
        let mut flags = OsString::from(MACHINE);
        let home = env::var_os("CARGO_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
        let registry = home.map(|home| home.join("registry/src"));
        let mut remapped = vec![
            (self.root.to_path_buf(), "/spanprof"),
            (sysroot.join("lib/rustlib/src/rust"), "/rust"),
        ];
        // The name of a registry's folder holds a checksum of its address, which may be a mirror's.
        let registries = registry.and_then(|folder| folder.read_dir().ok());
        for registry in registries.into_iter().flatten().flatten() {
            remapped.push((registry.path(), "/crates"));
        }
        for flag in ["-Cdebuginfo=2", "-Clink-arg=--btf"] {
            flags.push(SEPARATOR);
            flags.push(flag);
        }
        for (from, to) in remapped {
            flags.push(SEPARATOR);
            flags.push("--remap-path-prefix=");
            flags.push(from);
            flags.push("=");
            flags.push(to);
        }
        flags
    }
}

/// The object without DWARF: the kernel reads BTF alone, and it is five times the rest.
fn strip(sysroot: &Path, built: &Path) -> Result<Vec<u8>, String> {
    let stripped = built.with_extension("stripped");
    let host = "x86_64-unknown-linux-gnu";
    let program = sysroot
        .join("lib/rustlib")
        .join(host)
        .join("bin/rust-objcopy");
    let status = Command::new(&program)
        .arg("--strip-debug")
        .args([built, &stripped])
        // It needs the toolchain's LLVM, and does not say where that is.
        .env("LD_LIBRARY_PATH", sysroot.join("lib"))
        .status()
        .map_err(|error| format!("failed to start {}: {error}", program.display()))?;
    if !status.success() {
        return Err(format!("{} ended with {status}", program.display()));
    }
    fs::read(&stripped).map_err(|error| format!("failed to read {}: {error}", stripped.display()))
}

//! Leaves the kernel programs' object where `kernel/load.rs` embeds it: the one that `cargo xtask` names,
//! else one built here; and tells `version.rs` of the commit.

mod commit;
#[path = "../profiler-ebpf/object.rs"]
mod object;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Names an object that was built already.
const VARIABLE: &str = "SPANPROF_BPF_OBJECT";

fn main() {
    if let Err(error) = run() {
        // Cargo shows the line and fails; an exit code of our own would have it show all it knows of the build.
        println!("cargo::error={error}");
    }
}

fn run() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let folder = |name| {
        env::var_os(name)
            .map(PathBuf::from)
            .ok_or(format!("cargo sets no {name}"))
    };
    let (out, manifest) = (folder("OUT_DIR")?, folder("CARGO_MANIFEST_DIR")?);
    let root = manifest
        .parent()
        .ok_or("the crate is at the root of the file system")?;
    commit::tell(root);
    let bytes = match env::var_os(VARIABLE) {
        Some(path) => read(Path::new(&path))?,
        None => build(root, &out)?,
    };
    let path = out.join(object::NAME);
    fs::write(&path, bytes).map_err(|error| format!("failed to write {}: {error}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    println!("cargo::rerun-if-changed={}", path.display());
    let bytes =
        fs::read(path).map_err(|error| format!("{VARIABLE} names {}: {error}", path.display()))?;
    // An agent without its programs would be built in vain.
    if !bytes.starts_with(b"\x7fELF") {
        return Err(format!(
            "{VARIABLE} names {}, which is no object",
            path.display()
        ));
    }
    Ok(bytes)
}

fn build(root: &Path, out: &Path) -> Result<Vec<u8>, String> {
    for input in [
        "profiler-ebpf",
        "profiler-common",
        "Cargo.toml",
        "Cargo.lock",
        object::PINS,
    ] {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    // `target/PROFILE/build/profiler-HASH/out`, or one deeper for a named target: xtask keeps its tools in
    // `target/tools`.
    let folders = out.ancestors().skip(3).take(3);
    let tools = folders
        .map(|folder| folder.join("tools/bin"))
        .find(|tools| tools.join("bpf-linker").is_file());
    let build = object::Build {
        root,
        target: &out.join("bpf"),
        tools: tools.as_deref(),
    };
    build.run()
}

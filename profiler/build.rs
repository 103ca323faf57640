//! Builds the kernel programs and leaves the object where `kernel/load.rs` embeds it.
//!
//! Artifact dependencies would say this better; they are unstable
//! (<https://github.com/rust-lang/cargo/issues/9096>).

use std::{env, fs, path::Path};

use anyhow::{Context as _, Result};
use aya_build::{Package, Toolchain, build_ebpf};

/// The nightly that compiles the BPF crate. Later ones emit bitcode of an LLVM that the pinned
/// `bpf-linker` cannot read; `xtask/src/toolchain.rs` installs both.
const TOOLCHAIN: &str = "nightly-2026-08-01";

fn main() -> Result<()> {
    let object =
        Path::new(&env::var_os("OUT_DIR").context("OUT_DIR is not set")?).join("spanprof-bpf");
    // With AYA_BUILD_SKIP=1 nothing is built (check, clippy and tests without the BPF toolchain):
    // an empty object stands in, and loading it fails with a clear error.
    fs::write(&object, []).with_context(|| format!("cannot write {}", object.display()))?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../profiler-ebpf");
    let root = root
        .to_str()
        .context("the path of the workspace is not UTF-8")?;
    println!("cargo:rerun-if-changed=../profiler-common/src");
    build_ebpf(
        [Package {
            name: "profiler-ebpf",
            root_dir: root,
            ..Package::default()
        }],
        Toolchain::Custom(TOOLCHAIN),
    )
}

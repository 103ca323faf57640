//! Virtual environments and the wheel of the package.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::command::{self, say};
use crate::workspace::{Workspace, files_below};

/// A virtual environment and what must be in it.
pub(crate) struct Environment<'a> {
    /// Where it is.
    pub(crate) folder: PathBuf,
    /// The interpreter it is made from.
    pub(crate) interpreter: &'a Path,
    /// Requirement files.
    pub(crate) requirements: &'a [PathBuf],
    /// Further requirements, as pip takes them: names, wheels, folders.
    pub(crate) packages: &'a [String],
    /// Whatever else decides whether it is up to date, such as the content of a local wheel.
    pub(crate) inputs: u64,
}

impl Environment<'_> {
    /// Makes it, or makes it anew if anything it came from has changed; returns its interpreter.
    pub(crate) fn ensure(&self) -> Result<PathBuf> {
        let python = self.folder.join("bin/python");
        let stamp_file = self.folder.join("spanprof.stamp");
        let stamp = self.stamp()?;
        if python.is_file() && fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp) {
            return Ok(python);
        }
        say(&format!(
            "preparing virtual environment {}",
            self.folder.display()
        ));
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)
                .with_context(|| format!("failed to remove {}", self.folder.display()))?;
        }
        ensure_venv_module(self.interpreter)?;
        command::run(
            Command::new(self.interpreter)
                .args(["-m", "venv"])
                .arg(&self.folder),
        )?;
        let mut install = Command::new(&python);
        install.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        for file in self.requirements {
            install.arg("--requirement").arg(file);
        }
        install.args(self.packages);
        if !self.requirements.is_empty() || !self.packages.is_empty() {
            command::run(&mut install)?;
        }
        // Last, so that an interrupted installation is done again.
        fs::write(&stamp_file, stamp)
            .with_context(|| format!("failed to write {}", stamp_file.display()))?;
        Ok(python)
    }

    fn stamp(&self) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        self.interpreter.hash(&mut hasher);
        self.packages.hash(&mut hasher);
        self.inputs.hash(&mut hasher);
        command::probe(Command::new(self.interpreter).arg("--version")).hash(&mut hasher);
        for file in self.requirements {
            read(file)?.hash(&mut hasher);
        }
        Ok(format!("{:016x}\n", hasher.finish()))
    }
}

/// Builds the package's wheel, unless one of the same sources is there; one serves all versions,
/// because it uses the stable ABI alone.
pub(crate) fn ensure_wheel(workspace: &Workspace, interpreter: &Path) -> Result<(PathBuf, u64)> {
    let folder = workspace.target.join("wheels");
    let sources = source_hash(&workspace.python_package())?;
    let stamp_file = folder.join("sources.stamp");
    let stamp = format!("{sources:016x}\n");
    if fs::read_to_string(&stamp_file).is_ok_and(|found| found == stamp)
        && let Some(wheel) = wheel_in(&folder)?
    {
        return Ok((wheel, sources));
    }
    say("building the wheel of the Python package");
    if folder.exists() {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("failed to remove {}", folder.display()))?;
    }
    let builder = Environment {
        folder: workspace.target.join("wheel-builder"),
        interpreter,
        requirements: &[],
        packages: &[],
        inputs: 0,
    }
    .ensure()?;
    command::run(
        Command::new(builder)
            .args([
                "-m",
                "pip",
                "wheel",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
            ])
            .arg("--wheel-dir")
            .arg(&folder)
            .arg(workspace.python_package())
            .env("CARGO_TARGET_DIR", workspace.target.join("python-package")),
    )?;
    let wheel =
        wheel_in(&folder)?.with_context(|| format!("pip left no wheel in {}", folder.display()))?;
    fs::write(&stamp_file, stamp)
        .with_context(|| format!("failed to write {}", stamp_file.display()))?;
    Ok((wheel, sources))
}

fn wheel_in(folder: &Path) -> Result<Option<PathBuf>> {
    Ok(files_below(folder, "whl")?.into_iter().next())
}

/// A hash of all that the wheel is made of.
fn source_hash(package: &Path) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    for suffix in ["rs", "py", "pyi", "toml", "lock", "md", "typed"] {
        for file in files_below(package, suffix)? {
            let inside = file.strip_prefix(package).unwrap_or(&file);
            // Tests and benchmarks are not in the wheel.
            if inside.starts_with("tests") || inside.starts_with("benchmarks") {
                continue;
            }
            inside.hash(&mut hasher);
            read(&file)?.hash(&mut hasher);
        }
    }
    Ok(hasher.finish())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("failed to read {}", file.display()))
}

/// Debian packs `venv` and `ensurepip` apart from the interpreter.
fn ensure_venv_module(interpreter: &Path) -> Result<()> {
    let has_venv = || {
        command::probe(Command::new(interpreter).args(["-c", "import venv, ensurepip"])).is_some()
    };
    if has_venv() {
        return Ok(());
    }
    let version = command::probe(Command::new(interpreter).args([
        "-c",
        "import sys; print('python%d.%d-venv' % sys.version_info[:2])",
    ]));
    let package = version.unwrap_or_else(|| "python3-venv".to_owned());
    let missing = format!("{} has no venv module", interpreter.display());
    apt_install(&package, &missing)?;
    if !has_venv() {
        bail!("{missing}, even with {package}");
    }
    Ok(())
}

/// Installs a package of Debian or Ubuntu, as root; else says how. `missing` says why.
pub(crate) fn apt_install(package: &str, missing: &str) -> Result<()> {
    let line = format!("apt-get install --yes --no-install-recommends {package}");
    if !command::is_root() || command::find_on_path("apt-get").is_none() {
        bail!("{missing}; on Debian and Ubuntu: sudo {line}");
    }
    say(&format!("{missing}: {line}"));
    let apt = |arguments: &[&str]| {
        command::run(
            Command::new("apt-get")
                .args(arguments)
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdin(Stdio::null()),
        )
    };
    apt(&["update", "--quiet"])?;
    apt(&[
        "install",
        "--yes",
        "--quiet",
        "--no-install-recommends",
        package,
    ])
}

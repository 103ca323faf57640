//! Virtual environments and the wheel of the package.

use std::collections::{BTreeSet, hash_map::DefaultHasher};
use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Error, Result, bail};
use launcher::cache::Installed;
use launcher::interpreter;

use crate::command::{self, say};
use crate::once::{once, stamp};
use crate::workspace::{Workspace, files_below};

/// How many environments are made at a time: pip uses one core and in between waits for the network.
const AT_A_TIME: usize = 2;

/// The pinned pip, which installs into all environments, and maturin beside it, which builds the wheel.
#[derive(Debug)]
pub struct Pip {
    /// The interpreter that has both.
    python: PathBuf,
    /// Exact versions of all indirect dependencies.
    constraints: PathBuf,
}

impl Pip {
    /// Makes the environment with both, unless it exists.
    ///
    /// # Errors
    /// There is no interpreter, or the network is not.
    pub fn ensure(workspace: &Workspace) -> Result<Self> {
        let interpreter = interpreter::any().with_context(interpreter::none_found)?;
        let folder = workspace.target.join("pip");
        let pins = &workspace.pins;
        let packages = [
            format!("pip=={}", pins.pip),
            format!("maturin=={}", pins.maturin),
        ];
        let pip = Self {
            python: folder.join("bin/python"),
            constraints: workspace.root.join("tests/constraints.txt"),
        };
        let version = command::probe(Command::new(&interpreter).arg("--version"));
        let stamp = stamp((&interpreter, &packages, version, read(&pip.constraints)?));
        once(&folder, &stamp, |folder| {
            preparing(folder);
            ensure_venv_module(&interpreter)?;
            let mut venv = Command::new(&interpreter);
            command::run(venv.args(["-I", "-m", "venv"]).arg(folder))?;
            // The interpreter's own pip replaces itself with the pinned one.
            let mut install = pip.install(&[]);
            install.arg("--constraint").arg(&pip.constraints);
            command::run(install.args(&packages)).context(NETWORK)
        })?;
        Ok(pip)
    }

    /// The same pip, which keeps to other constraints.
    #[must_use]
    pub fn with_constraints(&self, constraints: PathBuf) -> Self {
        Self {
            python: self.python.clone(),
            constraints,
        }
    }

    /// The command `pip`, of which `arguments` come before the command's name.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut pip = Command::new(&self.python);
        // Into the environment, even if the user has configured another target.
        pip.env("PIP_USER", "0");
        pip.args(["-I", "-m", "pip", "--disable-pip-version-check", "--quiet"])
            .args(arguments);
        pip
    }

    /// The folder of its programs, with maturin among them.
    pub fn folder(&self) -> &Path {
        self.python.parent().unwrap_or(Path::new(""))
    }

    /// The command `pip install`.
    pub fn install(&self, arguments: &[&str]) -> Command {
        let mut install = self.command(arguments);
        install.arg("install");
        install
    }
}

/// The usual reason for a failed installation.
const NETWORK: &str = "pip could not install what is needed: it says why above; \
    this machine needs the network for it once";

/// A virtual environment and what must be in it.
#[derive(Debug)]
pub struct Environment<'a> {
    /// Its folder.
    pub folder: PathBuf,
    /// The interpreter it is made from.
    pub interpreter: &'a Path,
    /// Requirement files.
    pub requirements: &'a [PathBuf],
    /// Further requirements, as pip takes them: names, wheels, folders.
    pub packages: &'a [String],
    /// Anything else that determines whether it is up to date, such as the content of a local wheel.
    pub inputs: u64,
}

impl Environment<'_> {
    /// Makes it, or makes it again if anything it was made from has changed; returns its interpreter.
    ///
    /// # Errors
    /// The interpreter has no `venv`, or something cannot be installed.
    pub fn ensure(&self, pip: &Pip) -> Result<PathBuf> {
        let python = self.folder.join("bin/python");
        once(&self.folder, &self.stamp(pip)?, |folder| {
            preparing(folder);
            ensure_venv_module(self.interpreter)?;
            let mut venv = Command::new(self.interpreter);
            // Without pip: unpacking one takes longer than all the rest.
            venv.args(["-I", "-m", "venv", "--without-pip"]);
            command::run(venv.arg(folder))?;
            let python = python.display().to_string();
            let mut install = pip.install(&["--python", &python]);
            install.arg("--constraint").arg(&pip.constraints);
            for file in self.requirements {
                install.arg("--requirement").arg(file);
            }
            install.args(self.packages);
            if !self.requirements.is_empty() || !self.packages.is_empty() {
                command::run(&mut install).context(NETWORK)?;
            }
            Ok(())
        })?;
        Ok(python)
    }

    fn stamp(&self, pip: &Pip) -> Result<String> {
        let files = self.requirements.iter().chain([&pip.constraints]);
        Ok(stamp((
            self.interpreter,
            self.packages,
            self.inputs,
            command::probe(Command::new(self.interpreter).arg("--version")),
            files.map(|file| read(file)).collect::<Result<Vec<_>>>()?,
        )))
    }
}

/// Makes several environments, a few at a time.
///
/// # Errors
/// The first that could not be made.
pub fn ensure_all(environments: &[Environment<'_>], pip: &Pip) -> Result<()> {
    several(environments, |environment| {
        environment.ensure(pip).map(drop)
    })
}

/// Calls a function on each of several items, a few at a time; returns the first error.
pub(crate) fn several<T: Sync>(things: &[T], work: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    let left = Mutex::new(things.iter());
    let next = || left.lock().ok().and_then(|mut left| left.next());
    let run = || {
        while let Some(thing) = next() {
            work(thing)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(run)).collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|_| bail!("a worker has panicked"))
        })
    })
}

fn preparing(folder: &Path) {
    say(&format!(
        "preparing virtual environment {}",
        folder.display()
    ));
}

/// Builds the package's wheel, unless there is one from the same sources. One wheel serves all versions,
/// because it uses only the stable ABI. Returns its path and a hash of its sources.
///
/// # Errors
/// It does not build.
pub fn ensure_wheel(workspace: &Workspace, pip: &Pip) -> Result<(PathBuf, u64)> {
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
    command::run(
        pip.command(&[])
            .args(["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir"])
            .arg(&folder)
            .arg(workspace.python_package())
            .env("PATH", workspace.path_with(pip.folder())?)
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

/// A hash of all files that the wheel is made from.
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

/// Debian packages `venv` and `ensurepip` separately from the interpreter.
fn ensure_venv_module(interpreter: &Path) -> Result<()> {
    let has_venv = || {
        command::probe(Command::new(interpreter).args(["-I", "-c", "import venv, ensurepip"]))
            .is_some()
    };
    if has_venv() {
        return Ok(());
    }
    let version = command::probe(Command::new(interpreter).args([
        "-I",
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

/// Installs a package of Debian or Ubuntu if this process is root; else says how to. `missing` is the reason.
pub fn apt_install(package: &str, missing: &str) -> Result<()> {
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
    let before = packages()?;
    apt(&[
        "install",
        "--yes",
        "--quiet",
        "--no-install-recommends",
        package,
    ])?;
    // For `cargo xtask clean`: includes the dependencies, and leaves out packages that were there before.
    packages()?
        .difference(&before)
        .try_for_each(|name| Installed::Package(name.clone()).note())
        .map_err(Error::msg)
}

/// Names of the packages that are installed.
fn packages() -> Result<BTreeSet<String>> {
    let list = command::output(Command::new("dpkg-query").args(["-W", "-f", "${Package}\n"]))?;
    Ok(list.lines().map(str::to_owned).collect())
}

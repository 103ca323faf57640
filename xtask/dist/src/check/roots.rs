//! Clean roots to install into: releases of Debian made by `debootstrap`, each used through an overlay that is removed
//! afterwards.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Error, Result};
use launcher::{cache, preflight::KEYRING};
use xtask::{
    command::{self, say},
    once::{once, stamp},
    pythons::debian::{Apt, mirror, unpack},
};

use crate::folders;

/// A release of Debian, as small as it can be, and packages in it.
#[derive(Debug)]
pub(super) struct Root {
    /// Its name in the cache.
    pub(super) name: &'static str,
    suite: &'static str,
    /// Packages that debootstrap installs; they must have no alternatives.
    include: &'static [&'static str],
    /// Packages that apt-get installs into it.
    packages: &'static [&'static str],
}

/// The oldest supported release, without systemd, as in containers.
pub(super) const BULLSEYE: Root = Root {
    name: "bullseye",
    suite: "bullseye",
    include: &[],
    packages: &[],
};
/// With systemd, as on hosts.
pub(super) const TRIXIE: Root = Root {
    name: "trixie-systemd",
    suite: "trixie",
    include: &["systemd"],
    packages: &[],
};
/// With the tools that check packages and images.
pub(super) const JUDGES: Root = Root {
    name: "trixie-judges",
    suite: "trixie",
    include: &["systemd"],
    packages: &[
        "lintian", "rpm", "rpmlint", "skopeo", "fish", "zsh", "man-db",
    ],
};

/// Installs packages in a root. It shares only the network with the host.
const INSTALL: &str = r#"set -eu
root=$1; shift
for folder in proc dev; do mount --rbind "/$folder" "$root/$folder"; done
export DEBIAN_FRONTEND=noninteractive
chroot "$root" apt-get update -qq
exec chroot "$root" apt-get install -qq --yes --no-install-recommends "$@"
"#;

impl Root {
    /// Makes it, unless it exists; returns its folder.
    pub(super) fn ensure(&self) -> Result<PathBuf> {
        let folder = cache::folder().map_err(Error::msg)?.join("roots");
        let root = folder.join(self.name);
        let stamp = stamp((self.suite, self.include, self.packages));
        once(&root, &stamp, |root| {
            let log = folder.join(format!("{}.log", self.name));
            say(&format!(
                "making a root of Debian {} in {}: a minute or two, once",
                self.suite,
                root.display()
            ));
            // They report each of hundreds of packages.
            let log_file = fs::File::create(&log)?;
            let mut commands = vec![self.debootstrap(&debootstrap(&folder)?, root)?];
            if !self.packages.is_empty() {
                commands.push(self.install(root)?);
            }
            for mut command in commands {
                command.stdout(log_file.try_clone()?);
                command::run(&mut command)
                    .with_context(|| format!("{} says why", log.display()))?;
            }
            Ok(())
        })?;
        Ok(root)
    }

    fn debootstrap(&self, tool: &Path, root: &Path) -> Result<Command> {
        let scripts = tool.join("usr/share/debootstrap");
        let environment = [
            ("DEBOOTSTRAP_DIR", scripts.as_os_str()),
            ("PATH", OsStr::new(PATH)),
        ];
        let program = tool.join("usr/sbin/debootstrap");
        let mut command = command::privileged(&program, &environment, "making a root of Debian")?;
        command.args(["--variant=minbase", "--keyring", KEYRING]);
        if !self.include.is_empty() {
            command.arg(format!("--include={}", self.include.join(",")));
        }
        command.arg(self.suite).arg(root).arg(mirror());
        Ok(command)
    }

    fn install(&self, root: &Path) -> Result<Command> {
        let mut command = in_own_mounts(INSTALL)?;
        command.arg(root).args(self.packages);
        Ok(command)
    }
}

/// The program that makes roots, unpacked and not installed.
fn debootstrap(folder: &Path) -> Result<PathBuf> {
    let tool = folder.join("debootstrap");
    once(&tool, "trixie", |tool| {
        let packages = Apt::new("trixie")?;
        for package in packages.download_alone(&["debootstrap"])? {
            unpack(&package, tool)?;
        }
        Ok(())
    })?;
    Ok(tool)
}

/// An administrator's `PATH`, independent of the caller's.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The folders that a script runs in.
#[derive(Debug)]
pub(super) struct Inside<'a> {
    /// The folder of the root.
    pub(super) root: &'a Path,
    /// A folder of another root, mounted at `/target`, if the script needs one.
    pub(super) target: Option<&'a Path>,
    /// A folder that is mounted at `/packages`.
    pub(super) packages: &'a Path,
    /// The folder for the overlays.
    pub(super) scratch: &'a Path,
}

/// Mounts the overlays and the kernel's file systems, and runs the remaining arguments there. The mounts end with the
/// shell's mount namespace.
const ENTER: &str = r#"set -eu
scratch=$1 root=$2 target=$3 packages=$4; shift 4
overlay() {
    mkdir -p "$3/upper" "$3/work"
    mount -t overlay overlay -o "lowerdir=$1,upperdir=$3/upper,workdir=$3/work" "$2"
    for folder in proc sys dev; do mount --rbind "/$folder" "$2/$folder"; done
    mkdir -p "$2/packages"
    mount --bind "$packages" "$2/packages"
}
mkdir -p "$scratch/root"
overlay "$root" "$scratch/root" "$scratch/of-root"
if [ -n "$target" ]; then
    mkdir -p "$scratch/root/target"
    overlay "$target" "$scratch/root/target" "$scratch/of-target"
fi
exec chroot "$scratch/root" /bin/sh -eu "$@"
"#;

/// A shell as root that runs a script with arguments to be added; its mounts end with it.
fn in_own_mounts(script: &str) -> Result<Command> {
    let environment = [
        ("PATH", OsStr::new(PATH)),
        ("LC_ALL", OsStr::new("C.UTF-8")),
    ];
    let unshare = Path::new("/usr/bin/unshare");
    let mut command = command::privileged(unshare, &environment, "checking packages")?;
    command
        .args(["--mount", "--propagation", "private"])
        .args(["/bin/sh", "-c", script, "dist"]);
    Ok(command)
}

impl Inside<'_> {
    /// Runs a shell script with arguments as root; returns its stdout.
    pub(super) fn run(&self, script: &str, arguments: &[&str]) -> Result<String> {
        folders::create(self.scratch)?;
        let mut command = in_own_mounts(ENTER)?;
        command
            .args([self.scratch, self.root])
            .arg(self.target.unwrap_or(Path::new("")))
            .arg(self.packages)
            .args(["-c", script, "check"])
            .args(arguments);
        // The usual error would quote the whole script.
        let said = command::output(&mut command)
            .map_err(|_script| Error::msg("the script has failed; its output is above"));
        let mut remove = command::privileged(Path::new("/bin/rm"), &[], "removing an overlay")?;
        command::run(remove.arg("-rf").arg(self.scratch))?;
        said
    }
}

//! Clean roots to install into: releases of Debian as `debootstrap` makes them, each used through an overlay that is
//! thrown away.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Error, Result};
use launcher::{cache, preflight::KEYRING};
use xtask::{
    command::{self, say},
    once::{once, stamp},
    pythons::debian::{Apt, mirror, unpack},
};

use crate::folders;

/// A release of Debian with packages beside the least.
#[derive(Debug)]
pub(super) struct Root {
    /// What it is called in the cache.
    pub(super) name: &'static str,
    suite: &'static str,
    include: &'static [&'static str],
}

/// The oldest that there is, without systemd, as in containers.
pub(super) const BULLSEYE: Root = Root {
    name: "bullseye",
    suite: "bullseye",
    include: &[],
};
/// With systemd, as on hosts.
pub(super) const TRIXIE: Root = Root {
    name: "trixie-systemd",
    suite: "trixie",
    include: &["systemd"],
};
/// With what judges packages and images.
pub(super) const JUDGES: Root = Root {
    name: "trixie-judges",
    suite: "trixie",
    include: &[
        "lintian", "rpm", "rpmlint", "skopeo", "fish", "zsh", "man-db",
    ],
};

impl Root {
    /// Makes it, unless it is there; its folder.
    pub(super) fn ensure(&self) -> Result<PathBuf> {
        let folder = cache::folder().map_err(Error::msg)?.join("roots");
        let root = folder.join(self.name);
        once(&root, &stamp((self.suite, self.include)), |root| {
            say(&format!(
                "making a root of Debian {} in {}: a minute or two, once",
                self.suite,
                root.display()
            ));
            let tool = debootstrap(&folder)?;
            let mut command = command::privileged(
                &tool.join("usr/sbin/debootstrap"),
                &[
                    (
                        "DEBOOTSTRAP_DIR",
                        tool.join("usr/share/debootstrap").as_os_str(),
                    ),
                    // What an administrator has, whoever calls.
                    (
                        "PATH",
                        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".as_ref(),
                    ),
                ],
                "making a root of Debian",
            )?;
            command.args(["--variant=minbase", "--keyring", KEYRING]);
            if !self.include.is_empty() {
                command.arg(format!("--include={}", self.include.join(",")));
            }
            command.arg(self.suite).arg(root).arg(mirror());
            // It tells of each of hundreds of packages.
            let log = folder.join(format!("{}.log", self.name));
            command.stdout(fs::File::create(&log)?);
            command::run(&mut command).with_context(|| format!("{} says why", log.display()))
        })?;
        Ok(root)
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

/// What a script runs in.
#[derive(Debug)]
pub(super) struct Inside<'a> {
    /// The folder of the root.
    pub(super) root: &'a Path,
    /// A folder of another root, which is under `/target`, if there is to be one.
    pub(super) target: Option<&'a Path>,
    /// A folder that is under `/packages`.
    pub(super) packages: &'a Path,
    /// Where the overlays are put.
    pub(super) scratch: &'a Path,
}

/// Mounts the overlays and what the host's kernel gives, and runs what is left of the arguments there. The mounts go with
/// the shell's mount namespace.
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

impl Inside<'_> {
    /// Runs a shell script with arguments as root; what it has written on stdout.
    pub(super) fn run(&self, script: &str, arguments: &[&str]) -> Result<String> {
        folders::create(self.scratch)?;
        let unshare = Path::new("/usr/bin/unshare");
        let path = "/usr/sbin:/usr/bin:/sbin:/bin".as_ref();
        let environment = [("PATH", path), ("LC_ALL", "C.UTF-8".as_ref())];
        let mut command = command::privileged(unshare, &environment, "checking packages")?;
        command
            .args([
                "--mount",
                "--propagation",
                "private",
                "/bin/sh",
                "-c",
                ENTER,
                "enter",
            ])
            .args([self.scratch, self.root])
            .arg(self.target.unwrap_or(Path::new("")))
            .arg(self.packages)
            .args(["-c", script, "check"])
            .args(arguments);
        // As a line this would be the whole script.
        let said = command::output(&mut command)
            .map_err(|_script| Error::msg("the script has failed; it says above where"));
        let mut remove = command::privileged(Path::new("/bin/rm"), &[], "removing an overlay")?;
        command::run(remove.arg("-rf").arg(self.scratch))?;
        said
    }
}

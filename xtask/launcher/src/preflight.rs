//! What a command needs from this machine, checked before anything is compiled.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    cache,
    command::{can_become_root, find_on_path, is_root, probe},
    interpreter,
};

/// The kernel's own types, which loading the BPF programs needs.
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// The keys that Debian's packages are signed with.
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// The oldest kernel that the agent runs on.
const OLDEST_KERNEL: (u32, u32) = (5, 10);
/// The profile in which xtask, the agent and the tests are compiled, so that shared crates are compiled once.
pub const PROFILE: &str = "quick";
const MEBIBYTE: u64 = 1 << 20;
/// Disk space that a build takes in the target folder, measured by `du -sm target` after the command.
const DEMO_MEBIBYTES: u64 = 700;
const TEST_MEBIBYTES: u64 = 2_000;
const CI_MEBIBYTES: u64 = 4_000;
/// Disk space that the example takes besides: `du -sm target/collector target/go target/example`.
const COLLECTOR_MEBIBYTES: u64 = 500;
const DIST_MEBIBYTES: u64 = 3_000;
/// Disk space that the interpreters take in the cache: `du -sm ~/.cache/spanprof`.
const INTERPRETERS_MEBIBYTES: u64 = 1_300;

/// What is missing for a command: one line each, which says what to do. Empty if the command can go on.
pub fn missing(command: &str, arguments: &[String], root: &Path) -> Vec<String> {
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--help") || has("-h") {
        return Vec::new();
    }
    // By now the launcher itself is in the target folder; what is compiled next is not.
    let build = target_folder(root).join(PROFILE);
    match command {
        "demo" => [
            compiler(),
            python(),
            rights("recording"),
            kernel(),
            space(&build, DEMO_MEBIBYTES),
        ]
        .into_iter()
        .flatten()
        .collect(),
        "test" | "ci" => {
            let wanted = if command == "ci" {
                CI_MEBIBYTES
            } else {
                TEST_MEBIBYTES
            };
            let mut missing = vec![compiler(), python(), space(&build, wanted)];
            if !has("--unprivileged") {
                missing.extend([rights("testing end to end"), kernel(), interpreters()]);
            }
            missing.into_iter().flatten().collect()
        }
        "example" => [
            compiler(),
            python(),
            rights("profiling"),
            kernel(),
            space(&build, DEMO_MEBIBYTES + COLLECTOR_MEBIBYTES),
        ]
        .into_iter()
        .flatten()
        .collect(),
        "build" | "bench" | "lint" => compiler().into_iter().collect(),
        "dist" => {
            let mut missing = vec![compiler(), python(), space(&build, DIST_MEBIBYTES)];
            if has("--check") {
                missing.extend([rights("checking the packages"), kernel(), interpreters()]);
            }
            missing.into_iter().flatten().collect()
        }
        _ => Vec::new(),
    }
}

/// A user who builds with another compiler has configured it as the linker in cargo's configuration.
fn compiler() -> Option<String> {
    let has_one = ["cc", "gcc", "clang"]
        .iter()
        .any(|name| find_on_path(name).is_some());
    (!has_one).then(|| {
        "found no C compiler (cc); on Debian and Ubuntu: apt-get install gcc libc6-dev".to_owned()
    })
}

fn python() -> Option<String> {
    let Some(python) = interpreter::any() else {
        return Some(interpreter::none_found());
    };
    // As root on Debian, the command installs the missing module itself.
    let can_install = is_root() && find_on_path("apt-get").is_some();
    let has_venv =
        probe(Command::new(&python).args(["-I", "-c", "import venv, ensurepip"])).is_some();
    (!has_venv && !can_install).then(|| {
        format!(
            "{} has no venv module; on Debian and Ubuntu: apt-get install python3-venv",
            python.display()
        )
    })
}

fn rights(what: &str) -> Option<String> {
    (!is_root() && !can_become_root()).then(|| {
        format!(
            "{what} needs root, and sudo is missing or cannot ask for a password here: \
             run this as root{}",
            if what.starts_with("testing") {
                ", or with --unprivileged"
            } else {
                ""
            }
        )
    })
}

fn kernel() -> Option<String> {
    if env::consts::ARCH != "x86_64" {
        return Some(format!(
            "the agent runs on x86-64 only, and this is {}",
            env::consts::ARCH
        ));
    }
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    if version(release).is_some_and(|version| version < OLDEST_KERNEL) {
        let (major, minor) = OLDEST_KERNEL;
        return Some(format!(
            "the agent needs Linux {major}.{minor} or newer, and this is {release}"
        ));
    }
    (!Path::new(BTF).is_file()).then(|| {
        format!(
            "the kernel has no BTF at {BTF}: use a kernel built with CONFIG_DEBUG_INFO_BTF=y, \
             as every distribution's is"
        )
    })
}

/// The first two numbers of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// What is missing to fetch Debian's interpreters, unless they were fetched already.
fn interpreters() -> Option<String> {
    let folder = match cache::folder() {
        Ok(folder) => folder.join("interpreters"),
        Err(error) => return Some(error),
    };
    if folder.is_dir() {
        return None;
    }
    // As root, the command installs it itself.
    if !Path::new(KEYRING).is_file() && !is_root() {
        return Some(
            "there is no keyring of Debian, whose interpreters are fetched; on Debian and Ubuntu: \
             apt-get install debian-archive-keyring"
                .to_owned(),
        );
    }
    space(&folder, INTERPRETERS_MEBIBYTES)
}

/// Cargo's target folder, unless a configuration file of cargo names another.
pub fn target_folder(root: &Path) -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into)
}

/// Is there enough free space on the disk that a folder will be on?
fn space(folder: &Path, wanted: u64) -> Option<String> {
    if folder.is_dir() {
        // The folder was filled before: how far is costly to find out, and little will be missing.
        return None;
    }
    let existing = folder.ancestors().find(|folder| folder.is_dir())?;
    let said = probe(
        Command::new("df")
            .args(["--output=avail", "-B1"])
            .arg(existing),
    )?;
    let free: u64 = said.lines().next_back()?.trim().parse().ok()?;
    (free / MEBIBYTE < wanted).then(|| {
        format!(
            "{} has {} MiB free, and {wanted} are needed below {}",
            existing.display(),
            free / MEBIBYTE,
            folder.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{space, version};

    /// Kernel releases of distributions are read; a text that is not a release does not count as old.
    #[test]
    fn releases() {
        assert_eq!(version("5.10.0-30-cloud-amd64"), Some((5, 10)));
        assert_eq!(version("6.18+deb"), Some((6, 18)));
        assert_eq!(version(""), None);
    }

    /// The message about too little space has the place and both numbers.
    #[test]
    fn room() {
        let folder = Path::new("/proc/self/nowhere");
        let said = space(folder, u64::MAX).unwrap();
        assert!(
            said.contains("MiB free") && said.contains("/proc/self/nowhere"),
            "{said}"
        );
        assert_eq!(space(folder, 0), None);
    }
}

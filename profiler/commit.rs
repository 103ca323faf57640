//! Which commit the agent is built from: a part of `build.rs`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

/// Names the commit, for builds without git, or from a tree that git does not know.
const VARIABLE: &str = "SPANPROF_COMMIT";
/// What `--version` says where neither is known.
const UNKNOWN: &str = "unknown";

/// What the sources are, as git sees it: more than these are not compiled.
const SOURCES: [&str; 5] = [
    "profiler",
    "profiler-common",
    "profiler-ebpf",
    "Cargo.toml",
    "Cargo.lock",
];

/// Tells the crate of its commit: by the variable, else by git.
///
/// Git is asked in optimised builds only. Whoever develops commits often, and each commit would have the whole crate
/// compiled again.
pub(crate) fn tell(root: &Path) {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let named = env::var(VARIABLE).ok().filter(|commit| is_one_word(commit));
    let commit = named.or_else(|| of_git(root));
    let commit = commit.as_deref().unwrap_or(UNKNOWN);
    println!("cargo::rustc-env={VARIABLE}={commit}");
}

fn of_git(root: &Path) -> Option<String> {
    if env::var_os("CARGO_CFG_DEBUG_ASSERTIONS").is_some() {
        return None;
    }
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(root)
            .output()
            .ok()?;
        let said = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| said.trim().to_owned())
    };
    // Sources that were unpacked inside of somebody else's tree are none of that tree's commits.
    let top = PathBuf::from(git(&["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != root.canonicalize().ok()? {
        return None;
    }
    // It grows with each commit and each change of branch.
    let log = root.join(git(&["rev-parse", "--git-path", "logs/HEAD"])?);
    let sources = SOURCES.map(|source| root.join(source));
    for path in sources.iter().chain([&log]).filter(|path| path.exists()) {
        println!("cargo::rerun-if-changed={}", path.display());
    }
    let describe = [
        "describe",
        "--always",
        "--abbrev=40",
        "--exclude=*",
        "--dirty=-modified",
    ];
    git(&describe).filter(|commit| is_one_word(commit))
}

fn is_one_word(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_ascii_graphic())
}

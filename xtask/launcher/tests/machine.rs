//! What the launcher reports on a machine that lacks something, and what it removes from one.

#![expect(clippy::unwrap_used, reason = "helpers of tests panic like tests")]

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn launcher(argument: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_launcher"));
    command.arg(argument);
    command
}

/// A new folder for this test, made by hand, as a crate without dependencies has no library for that.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The output, in which every line must be one of ours.
fn lines(output: &Output) -> Vec<String> {
    let said = String::from_utf8(output.stderr.clone()).unwrap();
    let lines: Vec<String> = said.lines().map(str::to_owned).collect();
    assert!(
        lines.iter().all(|line| line.starts_with("xtask: ")),
        "{said}"
    );
    lines
}

/// The launcher lists everything that is missing at once, one line each with what to do, and starts nothing.
#[test]
fn what_is_missing() {
    let path = folder("path");
    symlink("/usr/bin/df", path.join("df")).unwrap();
    for command in ["demo", "test"] {
        let mut launcher = launcher(command);
        // The folder exists, has nothing of ours in it, and is not writable.
        launcher
            .env("PATH", &path)
            .env("CARGO_TARGET_DIR", "/proc/self");
        let output = launcher.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{command}");
        let lines = lines(&output);
        let says = |words: &[&str]| {
            let has_all = |line: &String| words.iter().all(|word| line.contains(word));
            lines.iter().filter(|line| has_all(line)).count() == 1
        };
        assert!(says(&["C compiler", "apt-get install gcc"]), "{lines:#?}");
        assert!(says(&["0 MiB free", "needed"]), "{lines:#?}");
    }
}

/// An unknown command is refused before anything is installed for it.
#[test]
fn no_such_command() {
    let mut launcher = launcher("tset");
    let output = launcher.env("PATH", "/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let lines = lines(&output);
    assert!(
        lines.len() == 1 && lines[0].contains("no command tset"),
        "{lines:?}"
    );
}

/// An entry whose object is gone already does not keep the rest from being removed.
#[test]
fn clean_after_others() {
    let cache = folder("others").join("spanprof");
    fs::create_dir_all(&cache).unwrap();
    fs::write(
        cache.join("installed"),
        "toolchain 0.0.1\ncomponent 0.0.1 clippy\n",
    )
    .unwrap();
    let mut clean = launcher("clean");
    let output = clean.env("SPANPROF_CACHE", &cache).output().unwrap();
    assert!(output.status.success(), "{:?}", lines(&output));
    assert!(!cache.exists());
}

/// Help needs nothing.
#[test]
fn help_needs_nothing() {
    let mut launcher = launcher("--help");
    let output = launcher.env("PATH", "/nonexistent").output().unwrap();
    assert!(output.status.success());
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("cargo xtask") && said.contains("demo"),
        "{said}"
    );
}

/// What was put outside the tree is removed and named; a second run finds nothing.
#[test]
fn clean() {
    let cache = folder("home").join("spanprof");
    fs::create_dir_all(cache.join("interpreters/sid")).unwrap();
    let mut clean = launcher("clean");
    clean.env("SPANPROF_CACHE", &cache);
    let output = clean.output().unwrap();
    assert!(output.status.success());
    let place = cache.display().to_string();
    assert!(
        lines(&output)
            .iter()
            .any(|line| line.contains("removing") && line.contains(&place))
    );
    assert!(!cache.exists());
    let again = clean.output().unwrap();
    assert!(lines(&again).iter().any(|line| line.contains("nothing")));
}

//! `cargo xtask`: installs the pinned toolchain if it is missing and runs the rest with it.
//!
//! Comes in: a command, by whatever cargo the user has. Goes out: the same command to `xtask` (or
//! `bench`, `example` or `dist`), by the pinned one. Must not know what the commands do.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool: stdout carries results, stderr what it is doing"
)]

use std::{env, ffi::OsString, os::unix::process::CommandExt as _, path::Path, process::ExitCode};

use launcher::{
    Result, clean,
    command::say,
    pins::{self, Pins},
    preflight::{self, PROFILE, target_folder},
    toolchain::Toolchain,
};

/// What `cargo xtask --help` prints; `xtask` has a test that it is the truth.
const HELP: &str = include_str!("../../help.txt");
/// What `cargo xtask clean --help` prints: the one command that is done here.
const CLEAN_HELP: &str = "\
Remove all that these commands have put outside of the tree, and say what

These are the interpreters that were fetched, the toolchains and parts of toolchains that were
installed by rustup, and the packages that were installed by apt-get. What cargo and pip have
downloaded is theirs: it stays in their caches. What is in the tree goes by `cargo clean`.

Usage: cargo xtask clean
";

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            say(&error);
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let mut arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let root = pins::root()?;
    match in_words(&arguments)
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [] => {
            eprint!("{HELP}");
            return Ok(ExitCode::from(2));
        }
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            return Ok(ExitCode::SUCCESS);
        }
        ["clean"] => return clean::run().map(|()| ExitCode::SUCCESS),
        ["help", "clean"] | ["clean", ..] => {
            print!("{CLEAN_HELP}");
            return Ok(ExitCode::SUCCESS);
        }
        ["help", command, ..] => arguments = vec![(*command).into(), "--help".into()],
        _ => {}
    }
    let words = in_words(&arguments);
    let command = words.first().map(String::as_str).unwrap_or_default();
    if !is_command(command) {
        return Err(format!(
            "there is no command {command}; the commands are listed by: cargo xtask help"
        ));
    }
    let missing = preflight::missing(command, &words, &root);
    if !missing.is_empty() {
        for line in &missing {
            say(line);
        }
        return Ok(ExitCode::FAILURE);
    }
    let pins = Pins::read(&root)?;
    let toolchain = Toolchain {
        name: &pins.stable,
        components: &[],
    };
    toolchain.ensure()?;
    Err(hand_over(&toolchain, command, &root, arguments))
}

/// Arguments as text, to look at; what is handed over stays as it was typed.
fn in_words(arguments: &[OsString]) -> Vec<String> {
    let words = arguments.iter();
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

/// Becomes cargo with the pinned toolchain; returns only if that cannot be.
fn hand_over(
    toolchain: &Toolchain<'_>,
    command: &str,
    root: &Path,
    arguments: Vec<OsString>,
) -> String {
    let package = match command {
        "bench" | "example" | "dist" => command,
        _ => "xtask",
    };
    let mut cargo = toolchain.command("cargo");
    cargo.args([
        "run",
        "--locked",
        "--profile",
        PROFILE,
        "--package",
        package,
    ]);
    if is_built(root, package) {
        cargo.arg("--quiet");
    } else {
        say("compiling cargo xtask itself: half a minute, once");
    }
    // As from the root: a folder of the tree may belong to another workspace.
    cargo
        .arg("--manifest-path")
        .arg(root.join("Cargo.toml"))
        .arg("--");
    let skip = usize::from(package != "xtask");
    cargo.args(arguments.into_iter().skip(skip));
    for (name, _) in env::vars_os() {
        if is_ours_alone(&name.to_string_lossy()) {
            cargo.env_remove(name);
        }
    }
    if let (Some(target), Ok(here)) = (env::var_os("CARGO_TARGET_DIR"), env::current_dir()) {
        // Cargo takes it as from the folder it runs in.
        cargo.env("CARGO_TARGET_DIR", here.join(target));
    }
    match library_path() {
        Some(path) => cargo.env("LD_LIBRARY_PATH", path),
        None => cargo.env_remove("LD_LIBRARY_PATH"),
    };
    format!("failed to start {cargo:?}: {}", cargo.exec())
}

/// Is there a command of this name in the help?
fn is_command(word: &str) -> bool {
    let commands = HELP.lines().filter_map(|line| line.strip_prefix("  "));
    let mut commands = commands.filter_map(|line| line.split(' ').next());
    !word.is_empty() && commands.any(|command| command == word)
}

/// Was the program built before? Whoever has set the target folder in a file sees cargo build it each time.
fn is_built(root: &Path, package: &str) -> bool {
    target_folder(root).join(PROFILE).join(package).is_file()
}

/// Is a variable set by cargo for the launcher alone, or by the user for programs that are not ours?
/// What is built, demonstrated and tested depends on neither.
fn is_ours_alone(name: &str) -> bool {
    const PREFIXES: [&str; 5] = [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "OTEL_",
        "PYTHON",
        "PYTEST_",
    ];
    const NAMES: [&str; 4] = [
        "CARGO_BIN_NAME",
        "CARGO_CRATE_NAME",
        "CARGO_BUILD_TARGET",
        "OUT_DIR",
    ];
    // The agent's own options; the others are xtask's, and the tests'.
    const KEPT: [&str; 8] = [
        "SPANPROF_CACHE",
        "SPANPROF_COMMIT",
        "SPANPROF_PYTHONS",
        "SPANPROF_HEADERS",
        "SPANPROF_BLESS",
        "SPANPROF_FULL_COUNT",
        "SPANPROF_REAL_PYROSCOPE",
        "SPANPROF_IMAGE",
    ];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix))
        || NAMES.contains(&name)
        || (name.starts_with("SPANPROF_") && !KEPT.contains(&name))
}

/// `LD_LIBRARY_PATH` without what cargo has put before the user's own: folders of the target and of the
/// toolchain.
fn library_path() -> Option<OsString> {
    let path = env::var_os("LD_LIBRARY_PATH")?;
    let target = env::current_exe()
        .ok()
        .and_then(|launcher| launcher.parent().map(Path::to_path_buf))?;
    let own = env::split_paths(&path).filter(|folder| {
        !folder.starts_with(&target) && !folder.to_string_lossy().contains("/toolchains/")
    });
    let own = env::join_paths(own).ok()?;
    (!own.is_empty()).then_some(own)
}

//! `cargo xtask`: installs the pinned toolchain if it is missing and runs the rest with it.
//!
//! In: a command, run by the user's cargo. Out: the same command to `xtask` (or `bench`, `example` or `dist`),
//! run by the pinned cargo. It must not know what the commands do.

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

/// What `cargo xtask --help` prints; a test in `xtask` checks that it is up to date.
const HELP: &str = include_str!("../../help.txt");
/// What `cargo xtask clean --help` prints: the launcher runs this one command itself.
const CLEAN_HELP: &str = "\
Remove everything that these commands have put outside the tree, and list it

These are the interpreters that were fetched, the toolchains and parts of toolchains that were
installed by rustup, and the packages that were installed by apt-get. Downloads of cargo and pip stay
in their caches. To remove what is in the tree, run `cargo clean`.

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

/// Arguments as text, to be inspected; the arguments that are passed on stay as they were typed.
fn in_words(arguments: &[OsString]) -> Vec<String> {
    let words = arguments.iter();
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

/// Replaces this process with cargo of the pinned toolchain; returns only if that fails.
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
    // Run in the root, because a folder of the tree may belong to another workspace.
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
        // Cargo takes a relative path as relative to the folder it runs in.
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

/// Was the program built before? If the target folder is set in a configuration file, the answer is always no.
fn is_built(root: &Path, package: &str) -> bool {
    target_folder(root).join(PROFILE).join(package).is_file()
}

/// Was a variable set by cargo for the launcher only, or by the user for other programs?
/// Builds, the demo and the tests must depend on neither.
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
    // The agent's own options; the others are for xtask and the tests.
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

/// `LD_LIBRARY_PATH` without the folders that cargo has put before the user's own: those of the target and
/// of the toolchain.
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

//! Questions about this machine and user, and messages to the user.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    process::{Command, Stdio},
};

/// Tells the user what is being done, on stderr: stdout is for results.
pub fn say(message: &str) {
    eprintln!("xtask: {message}");
}

/// What `command` wrote on stdout, trimmed; `None` if it cannot be run or fails. For questions to which
/// failure is an answer.
pub fn probe(command: &mut Command) -> Option<String> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Folders of administrators' programs, which an ordinary user's `PATH` may leave out.
pub const ADMINISTRATORS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// The first file called `name` in the folders of `PATH`.
pub fn find_on_path(name: &str) -> Option<PathBuf> {
    find_in(&env::var_os("PATH")?, name)
}

/// The same for a program that only root runs.
pub fn find_for_root(name: &str) -> Option<PathBuf> {
    let administrators = env::join_paths(ADMINISTRATORS).ok()?;
    find_on_path(name).or_else(|| find_in(&administrators, name))
}

fn find_in(path: &OsStr, name: &str) -> Option<PathBuf> {
    env::split_paths(path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    // The folder of a process belongs to its effective user; std does not ask the kernel directly.
    fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Whether this is a CI run, where a missing tool or privilege is a failure and not a skip.
pub fn is_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false" && value != "0")
}

/// Whether sudo can be used: it is installed, and there is a terminal or it needs no password.
pub fn can_become_root() -> bool {
    use std::io::IsTerminal as _;
    let Some(sudo) = find_on_path("sudo") else {
        return false;
    };
    std::io::stdin().is_terminal()
        || probe(Command::new(sudo).args(["--non-interactive", "true"])).is_some()
}

//! Installs toolchains by rustup, and runs programs of them.

use std::{ffi::OsStr, process::Command};

use crate::{
    Result,
    cache::Installed,
    command::{find_on_path, probe, say},
    network,
};

/// A toolchain, and the components it needs besides compiler, cargo and std.
#[derive(Clone, Copy, Debug)]
pub struct Toolchain<'a> {
    /// Its name, as rustup knows it.
    pub name: &'a str,
    /// Names of components.
    pub components: &'a [&'a str],
}

impl Toolchain<'_> {
    /// Installs the missing parts, and says so.
    ///
    /// # Errors
    /// There is no rustup and `PATH` has another toolchain, or rustup fails.
    pub fn ensure(&self) -> Result<()> {
        let installed = self.components_there();
        let has =
            |list: &str, component: &str| list.lines().any(|line| line.starts_with(component));
        let missing: Vec<&str> = match &installed {
            Some(list) => self
                .components
                .iter()
                .copied()
                .filter(|it| !has(list, it))
                .collect(),
            None => self.components.to_vec(),
        };
        if installed.is_some() && missing.is_empty() {
            return Ok(());
        }
        if find_on_path("rustup").is_none() {
            return self.without_rustup();
        }
        let with = if missing.is_empty() {
            String::new()
        } else {
            format!(" with {}", missing.join(", "))
        };
        network::reach_rustup()
            .map_err(|error| format!("Rust {}{with} must be installed, but {error}", self.name))?;
        say(&format!("installing Rust {}{with} by rustup", self.name));
        let mut install = Command::new("rustup");
        install.env("RUST_BACKTRACE", "0");
        install.args([
            "toolchain",
            "install",
            self.name,
            "--profile",
            "minimal",
            "--no-self-update",
        ]);
        for component in self.components {
            install.args(["--component", component]);
        }
        let done = install.status().is_ok_and(|status| status.success());
        if !done {
            return Err(format!(
                "rustup could not install Rust {}: it says why above",
                self.name
            ));
        }
        match installed {
            None => Installed::Toolchain(self.name.to_owned()).note(),
            Some(_) => missing.iter().try_for_each(|component| {
                Installed::Component(self.name.to_owned(), (*component).to_owned()).note()
            }),
        }
    }

    /// The components that rustup lists as installed; `None` if the toolchain is not installed.
    fn components_there(&self) -> Option<String> {
        probe(Command::new("rustup").args([
            "component",
            "list",
            "--installed",
            "--toolchain",
            self.name,
        ]))
    }

    /// Without rustup the compiler on `PATH` must be the one that is pinned.
    fn without_rustup(&self) -> Result<()> {
        let version = probe(Command::new("rustc").arg("--version")).unwrap_or_default();
        if version.split(' ').nth(1) == Some(self.name) {
            return Ok(());
        }
        Err(format!(
            "Rust {} is needed, and rustup, which installs it, is missing: see https://rustup.rs",
            self.name
        ))
    }

    /// A program of the toolchain, independent of the toolchain that has started this process.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command;
        if find_on_path("rustup").is_some() {
            command = Command::new("rustup");
            command.args(["run", self.name]).arg(program);
        } else {
            command = Command::new(program);
        }
        // Cargo and rustup set these variables only for the programs they start themselves.
        for variable in [
            "RUSTUP_TOOLCHAIN",
            "CARGO",
            "RUSTC",
            "RUSTDOC",
            "RUST_RECURSION_COUNT",
        ] {
            command.env_remove(variable);
        }
        command
    }
}

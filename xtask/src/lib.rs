//! Automation of the workspace. `cargo xtask help` lists the commands, one module each.
//!
//! It is a library, so that `bench` and `dist`, which most users never compile, can use it.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool: stdout carries results, stderr what it is doing"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "that clocks are read in one place is the agent's rule"
)]

pub mod build;
mod ci;
mod codegen;
pub mod command;
mod demo;
mod deploy;
pub mod example;
mod golang;
mod layers;
mod lint;
pub mod once;
pub mod programs;
mod progress;
pub mod python;
pub mod pythons;
mod setup;
mod summary;
mod test;
pub mod toolchain;
pub mod workspace;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;

/// Automation of the spanprof workspace
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    arg_required_else_help = true,
    max_term_width = 80
)]
enum Task {
    Demo(demo::Arguments),
    /// Run a shop with traces and profiles, and show the flame graph of a span
    Example(Elsewhere),
    Test(test::Arguments),
    Build(build::Arguments),
    Setup(setup::Arguments),
    /// Measure what profiling costs, beside other profilers
    Bench(Elsewhere),
    /// Make a release: static binary, image, deb, rpm, wheels
    Dist(Elsewhere),
    Lint(lint::Arguments),
    Layers(layers::Arguments),
    Ci(ci::Arguments),
    Codegen(codegen::Arguments),
    Programs(programs::Arguments),
    Pythons(pythons::Arguments),
    Deploy(deploy::Arguments),
    /// Remove everything that these commands have put outside the tree, and list it
    Clean(Elsewhere),
}

/// A command that the launcher does not pass to this program.
#[derive(clap::Args)]
#[command(disable_help_flag = true)]
struct Elsewhere {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    arguments: Vec<String>,
}

/// Runs the command that was typed.
pub fn main() -> ExitCode {
    finish(run(Task::parse()))
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Setup(arguments) => setup::run(&arguments),
        Task::Build(arguments) => build::run(&arguments),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Lint(arguments) => lint::run(&arguments),
        Task::Layers(arguments) => layers::run(&arguments),
        Task::Ci(arguments) => ci::run(&arguments),
        Task::Codegen(arguments) => codegen::run(arguments.check),
        Task::Programs(arguments) => programs::run(&arguments),
        Task::Pythons(arguments) => pythons::run(&arguments),
        Task::Deploy(arguments) => deploy::run(&arguments),
        Task::Clean(Elsewhere { arguments })
        | Task::Bench(Elsewhere { arguments })
        | Task::Dist(Elsewhere { arguments })
        | Task::Example(Elsewhere { arguments }) => {
            bail!("start this by cargo xtask: {arguments:?} is not for this program")
        }
    }
}

/// Shows the error of a command, if there is one, and returns the exit code.
pub fn finish(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Task;

    /// `help.txt` is the help of this program: the launcher prints the file instead of starting the program. With
    /// `SPANPROF_BLESS` set, this test writes the file.
    #[test]
    fn help_of_the_launcher() {
        let said = Task::command().render_help().to_string();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/help.txt");
        if std::env::var_os("SPANPROF_BLESS").is_some() {
            std::fs::write(path, &said).unwrap();
        }
        assert_eq!(said, std::fs::read_to_string(path).unwrap());
    }
}

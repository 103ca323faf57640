//! Automation of the workspace. `cargo xtask help` lists the subcommands, one module each.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool: stdout carries results, stderr what it is doing"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "that clocks are read in one place is the agent's rule"
)]

mod bench;
mod build;
mod ci;
mod codegen;
mod command;
mod demo;
mod interpreter;
mod layers;
mod lint;
mod python;
mod pythons;
mod setup;
mod summary;
mod test;
mod toolchain;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

/// Automation of the spanprof workspace.
#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    arg_required_else_help = true
)]
enum Task {
    Setup(setup::Arguments),
    Build(build::Arguments),
    Demo(demo::Arguments),
    Test(test::Arguments),
    Bench(bench::Arguments),
    Lint(lint::Arguments),
    Layers(layers::Arguments),
    Ci(ci::Arguments),
    Codegen(codegen::Arguments),
    Pythons(pythons::Arguments),
}

fn main() -> ExitCode {
    let result = match Task::parse() {
        Task::Setup(arguments) => setup::run(&arguments),
        Task::Build(arguments) => build::run(&arguments),
        Task::Demo(arguments) => demo::run(&arguments),
        Task::Test(arguments) => test::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Lint(arguments) => lint::run(&arguments),
        Task::Layers(arguments) => layers::run(&arguments),
        Task::Ci(arguments) => ci::run(&arguments),
        Task::Codegen(arguments) => codegen::run(arguments.check),
        Task::Pythons(arguments) => pythons::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

//! The binary `spanprof`: parse, run, one exit code.

use std::{ffi::OsString, io::IsTerminal as _, process::ExitCode};

use clap::CommandFactory as _;
use profiler::{
    agent,
    cli::{Cli, Command},
    config::{AgentConfig, ConfigError, DoctorConfig, RecordConfig, command_line},
    doctor,
    output::{complain, out},
    record, telemetry, version,
};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let command = Cli::command().long_version(version::long());
    let words: Vec<OsString> = std::env::args_os().collect();
    let done = match command_line(command, &words) {
        Ok(cli) => run(cli),
        Err(ConfigError::Usage(error)) => error.exit(),
        Err(error) => Err(error.into()),
    };
    done.unwrap_or_else(|error| {
        complain(&format!("error: {error:#}"));
        ExitCode::FAILURE
    })
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let filter = EnvFilter::try_new(&cli.log)?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        // It would say so on stderr, and panic where that is what cannot be written.
        .log_internal_errors(false)
        .init();
    match cli.command {
        Command::Record(arguments) => record::record(&RecordConfig::from_arguments(arguments)),
        Command::Agent(arguments) => agent::agent(&AgentConfig::from_arguments(*arguments)?),
        Command::Health(arguments) => {
            let words = telemetry::ask(arguments.listen, arguments.ready)?;
            out(&format!("{words}\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor(arguments) => doctor::doctor(&DoctorConfig::from_arguments(&arguments)),
    }
}

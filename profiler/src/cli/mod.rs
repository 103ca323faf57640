//! What was typed. Validates, and does nothing.
//!
//! Each option is defined once, by one field: its flag, its environment variable, its default, its help and its check.
//! The agent's options are the keys of its file, too (`config/file.rs`), under the names of the fields.

#![expect(clippy::doc_markdown, reason = "help texts are shown as they stand")]

mod agent;
mod parse;
mod sampling;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};

use self::parse::{parse_duration, parse_percent};
pub use self::{
    agent::{
        AccessArguments, AgentArguments, LabelArguments, OnOff, PushArguments,
        ServiceLabelArgument, SpanNameLabelArgument, TelemetryArguments,
    },
    sampling::{
        KernelProgramsArgument, NativeArgument, NativeArguments, ProbeRouteArgument,
        SamplingArguments, SpanLabelArgument, SpanProbesArgument,
    },
};

/// Shows which lines of Python use the CPU of which trace span.
#[derive(Debug, Parser)]
#[command(
    name = "spanprof",
    version,
    about,
    max_term_width = 100,
    arg_required_else_help = true
)]
pub struct Cli {
    /// What to log on stderr: error, warn, info, debug or trace, or a filter such as
    /// info,profiler::targets=debug
    #[arg(
        long,
        global = true,
        env = "SPANPROF_LOG",
        default_value = "warn",
        value_name = "FILTER"
    )]
    pub log: String,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Records one profile and writes it to files, like `perf record`
    #[command(
        after_help = "Examples:\n  spanprof record --duration 30s --output profile.pb.gz\n  spanprof record --pid 4242 --output flame.svg --output profile.folded\n  spanprof record --output profile.pb.gz -- python app.py"
    )]
    Record(RecordArguments),
    /// Profiles every CPython process on the host and pushes the profiles to Pyroscope, until you stop it
    Agent(Box<AgentArguments>),
    /// Asks the agent on this host whether it is healthy; exits with 0 if it is, else with 1 (for an exec probe)
    Health(HealthArguments),
    /// Checks what works on this host, what does not, and how to fix it
    Doctor(DoctorArguments),
}

/// Arguments of `record`.
#[derive(Args, Debug)]
pub struct RecordArguments {
    /// Process to record, with the children that it forks; may be given several times. Without it and
    /// without a command, every CPython process on the host is recorded
    #[arg(long = "pid", value_name = "PID", conflicts_with = "program")]
    pub pids: Vec<u32>,
    /// How long to record, such as 10s, 500ms or 2m [default: 10s, or until COMMAND ends]
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub duration: Option<Duration>,
    /// How samples are taken.
    #[command(flatten)]
    pub sampling: SamplingArguments,
    /// File to write, by suffix: .pb.gz (pprof), .folded (flame graph lines), .svg (flame graph);
    /// may be given several times
    #[arg(long = "output", short = 'o', value_name = "PATH")]
    pub outputs: Vec<PathBuf>,
    /// Which frames of machine code.
    #[command(flatten)]
    pub native: NativeArguments,
    /// Exit with an error if less than PERCENT of the samples are in a span (useful in CI)
    #[arg(long, value_parser = parse_percent, value_name = "PERCENT")]
    pub min_coverage: Option<f64>,
    /// Also write the records of the kernel programs to a file, as they come off the ring (for tests)
    #[arg(long, hide = true, value_name = "PATH")]
    pub keep_records: Option<PathBuf>,
    /// Command to start and to record from its first instruction. spanprof exits with the command's exit code
    #[arg(last = true, value_name = "COMMAND")]
    pub program: Vec<OsString>,
}

/// Arguments of `health`.
#[derive(Args, Debug)]
pub struct HealthArguments {
    /// Address that the agent listens on, as in its --listen
    #[arg(long, env = "SPANPROF_LISTEN", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Ask whether it already takes samples, instead of whether it is healthy
    #[arg(long)]
    pub ready: bool,
}

/// Arguments of `doctor`.
#[derive(Args, Debug)]
pub struct DoctorArguments {
    /// Process to check; may be given several times. Without it, every CPython process is checked
    #[arg(long = "pid", value_name = "PID")]
    pub pids: Vec<u32>,
    /// How long to take samples, to show which share of them is in spans; needs root
    #[arg(long, value_parser = parse_duration, default_value = "1s", value_name = "TIME")]
    pub sample: Duration,
    /// How samples are taken.
    #[command(flatten)]
    pub sampling: SamplingArguments,
    /// Take no samples
    #[arg(long, conflicts_with = "sample")]
    pub no_sample: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::{Cli, Command};

    /// The definitions are consistent: clap checks them all.
    #[test]
    fn definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    /// A command may have flags of its own behind `--`.
    #[test]
    fn a_command_keeps_its_own_flags() {
        let cli =
            Cli::try_parse_from(["spanprof", "record", "-o", "a.svg", "--", "python", "--pid"]);
        let Command::Record(arguments) = cli.unwrap().command else {
            panic!("not record")
        };
        assert_eq!(arguments.program, ["python", "--pid"]);
        assert!(arguments.pids.is_empty());
    }
}

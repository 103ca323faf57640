//! What was typed. Validates, and does nothing.

#![expect(clippy::doc_markdown, reason = "help texts are shown as they stand")]

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};

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

/// Arguments of `agent`. Flags win over the environment, that over the file.
#[derive(Args, Debug)]
pub struct AgentArguments {
    /// Pyroscope server to push to, such as http://pyroscope:4040
    #[arg(long, env = "SPANPROF_PYROSCOPE_URL", value_name = "URL")]
    pub pyroscope_url: Option<String>,
    /// How samples are taken.
    #[command(flatten)]
    pub sampling: SamplingArguments,
    /// Length of a profile, from 1s to 30s: Grafana looks for a span's profile 30 s around it
    /// [default: 15s]
    #[arg(
        long, env = "SPANPROF_UPLOAD_INTERVAL", value_parser = parse_duration, value_name = "TIME")]
    pub upload_interval: Option<Duration>,
    /// Label for every profile; may be given several times
    #[arg(help_heading = "Labels", long = "tag", value_parser = parse_tag, value_name = "KEY=VALUE")]
    pub tags: Vec<(String, String)>,
    /// Name of this host, for the label host_name; in Kubernetes the node's name, spec.nodeName
    /// [default: the host name that the host's first process sees]
    #[arg(
        help_heading = "Labels",
        long,
        env = "SPANPROF_HOST_NAME",
        value_name = "NAME"
    )]
    pub host_name: Option<String>,
    /// Whether profiles have the label host_name. Without it, the agents of two hosts write to the same
    /// series, and the server may drop one of two profiles [default: on]
    #[arg(
        help_heading = "Labels",
        long,
        env = "SPANPROF_HOST_NAME_LABEL",
        hide_possible_values = true,
        value_name = "on|off"
    )]
    pub host_name_label: Option<OnOff>,
    /// Attributes of a service that become labels of its profiles, if the service has them: version,
    /// environment and instance-id, separated by commas, or none. Every value makes another series, and
    /// Pyroscope's storage v1 keeps 5000 series per tenant [default: version,environment]
    #[arg(
        help_heading = "Labels",
        long,
        env = "SPANPROF_SERVICE_LABELS",
        value_delimiter = ',',
        value_name = "LIST"
    )]
    pub service_labels: Option<Vec<ServiceLabelArgument>>,
    /// Lock file that keeps a second agent from running on the host. To run two agents, which push to two
    /// servers, give each its own file [default: /run/spanprof-agent.lock of the host, or in a systemd
    /// unit agent.lock in its RuntimeDirectory]
    #[arg(long, env = "SPANPROF_LOCK_FILE", value_name = "PATH")]
    pub lock_file: Option<PathBuf>,
    /// Folder for what need not outlive the agent, as systemd names it; of several the first
    #[arg(long, hide = true, env = "RUNTIME_DIRECTORY", value_name = "PATH")]
    pub runtime_directory: Option<PathBuf>,
    /// Tenant, sent as X-Scope-OrgID
    #[arg(
        help_heading = "Access to the server",
        long,
        env = "SPANPROF_TENANT_ID",
        value_name = "ID"
    )]
    pub tenant_id: Option<String>,
    /// Where pushes wait, and how fast they go.
    #[command(flatten)]
    pub push: PushArguments,
    /// User for HTTP basic authentication
    #[arg(
        help_heading = "Access to the server",
        long,
        env = "SPANPROF_BASIC_AUTH_USER",
        value_name = "USER"
    )]
    pub basic_auth_user: Option<String>,
    /// File with the password. There is no flag for the password itself: every process can read command lines
    #[arg(
        help_heading = "Access to the server",
        long,
        env = "SPANPROF_BASIC_AUTH_PASSWORD_FILE",
        value_name = "PATH"
    )]
    pub basic_auth_password_file: Option<PathBuf>,
    /// File with a bearer token. Like all files with secrets and certificates, the agent reads it again
    /// when it changes
    #[arg(
        help_heading = "Access to the server",
        long,
        env = "SPANPROF_BEARER_TOKEN_FILE",
        value_name = "PATH"
    )]
    pub bearer_token_file: Option<PathBuf>,
    /// PEM file with the certificates to trust, instead of the system's (or those of SSL_CERT_FILE and
    /// SSL_CERT_DIR)
    #[arg(
        help_heading = "Access to the server",
        long,
        env = "SPANPROF_CA_FILE",
        value_name = "PATH"
    )]
    pub ca_file: Option<PathBuf>,
    /// PEM file with the agent's certificate and those that signed it, if the server asks for one
    #[arg(
        help_heading = "Access to the server",
        long,
        env = "SPANPROF_CLIENT_CERTIFICATE_FILE",
        value_name = "PATH"
    )]
    pub client_certificate_file: Option<PathBuf>,
    /// PEM file with that certificate's key
    #[arg(
        help_heading = "Access to the server",
        long,
        env = "SPANPROF_CLIENT_KEY_FILE",
        value_name = "PATH"
    )]
    pub client_key_file: Option<PathBuf>,
    /// Whether samples have the label span_name, with the span's name as it is (raw), or not (off). Every
    /// name makes another series of the service, and Pyroscope's storage v1 keeps 5000 series per tenant:
    /// switch it off if your span names contain ids. The label span_id, and with it the flame graph of a
    /// span, stays [default: raw]
    #[arg(
        help_heading = "Labels",
        long,
        env = "SPANPROF_SPAN_NAME_LABEL",
        hide_possible_values = true,
        value_name = "off|raw"
    )]
    pub span_name_label: Option<SpanNameLabelArgument>,
    /// Also label samples with trace_id. Off by default: Pyroscope before 2.1 makes a series for every
    /// trace, and soon reaches its limit of series
    #[arg(help_heading = "Labels", long, env = "SPANPROF_TRACE_ID_LABEL", num_args = 0..=1, default_missing_value = "true", value_name = "BOOL")]
    pub trace_id_label: Option<bool>,
    /// The agent's own telemetry.
    #[command(flatten)]
    pub telemetry: TelemetryArguments,
    /// Which frames of machine code.
    #[command(flatten)]
    pub native: NativeArguments,
    /// TOML file with the same names as these flags, with _ for -
    #[arg(long, env = "SPANPROF_CONFIG", value_name = "PATH")]
    pub config: Option<PathBuf>,
}

/// The agent's own telemetry.
#[derive(Args, Debug, Default)]
pub struct TelemetryArguments {
    /// Address to serve /metrics (Prometheus), /healthz, /readyz and /debug/losses on, such as
    /// 127.0.0.1:9464. Without it, the agent does not listen
    #[arg(
        help_heading = "The agent's own telemetry",
        long,
        env = "SPANPROF_LISTEN",
        value_name = "ADDRESS"
    )]
    pub listen: Option<SocketAddr>,
    /// Server to push the agent's own metrics to with OTLP over HTTP, such as http://collector:4318
    /// [default: OTEL_EXPORTER_OTLP_ENDPOINT; without both, none are pushed]
    #[arg(
        help_heading = "The agent's own telemetry",
        long,
        env = "SPANPROF_TELEMETRY_OTLP_ENDPOINT",
        value_name = "URL"
    )]
    pub telemetry_otlp_endpoint: Option<String>,
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

/// Where pushes wait, and how fast they go.
#[derive(Args, Debug, Default)]
pub struct PushArguments {
    /// Memory for profiles that wait while the server is down. If it is full, the agent drops the oldest
    /// [default: 64MiB]
    #[arg(help_heading = "Pushing", long, env = "SPANPROF_PUSH_QUEUE", value_parser = parse_bytes, value_name = "BYTES")]
    pub push_queue: Option<u64>,
    /// Requests in flight at the same time, each on its own connection [default: 4]
    #[arg(help_heading = "Pushing", long, env = "SPANPROF_PUSH_REQUESTS", value_parser = clap::value_parser!(u32).range(1..=64), value_name = "COUNT")]
    pub push_requests: Option<u32>,
    /// Bytes of profiles in one request, before compression. The agent lowers it if the server refuses a
    /// request as too large [default: 1MiB]
    #[arg(help_heading = "Pushing", long, env = "SPANPROF_PUSH_REQUEST_SIZE", value_parser = parse_bytes, value_name = "BYTES")]
    pub push_request_size: Option<u64>,
    /// Bytes of profiles per second, before compression. The default is what Pyroscope accepts from a
    /// tenant by default. The agent lowers it if the server answers that it is too much [default: 4MiB]
    #[arg(help_heading = "Pushing", long, env = "SPANPROF_PUSH_RATE", value_parser = parse_bytes, value_name = "BYTES")]
    pub push_rate: Option<u64>,
    /// How long a request may take [default: 10s]
    #[arg(help_heading = "Pushing", long, env = "SPANPROF_PUSH_TIMEOUT", value_parser = parse_duration, value_name = "TIME")]
    pub push_timeout: Option<Duration>,
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

/// How samples are taken.
#[derive(Args, Debug)]
pub struct SamplingArguments {
    /// Samples per second and CPU, from 1 to 4999 [default: 99]
    #[arg(long, short = 'F', env = "SPANPROF_FREQUENCY", value_parser = clap::value_parser!(u32).range(1..=4999), value_name = "HZ")]
    pub frequency: Option<u32>,
    /// Which span the label `span_id` of a sample names: the one of the request (local-root), whose flame
    /// graph then includes its children, or the innermost one (active) [default: local-root]
    #[arg(long, env = "SPANPROF_SPAN_LABEL", value_name = "MODE")]
    pub span_label: Option<SpanLabelArgument>,
    /// When the probes of the Python package are attached: as long as a process needs them because its
    /// context cannot be read (auto), or all the time (always). Attached probes add 2 to 4 µs to each span,
    /// and then spans are counted that no sample has hit [default: auto]
    #[arg(long, env = "SPANPROF_SPAN_PROBES", value_name = "WHEN")]
    pub span_probes: Option<SpanProbesArgument>,
    /// Maximum number of Python processes that are profiled at the same time [default: 4096]
    #[arg(long, env = "SPANPROF_MAX_PROCESSES", value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "COUNT")]
    pub max_processes: Option<u32>,
    /// Maximum number of threads. A quarter as many can have open spans that only the package reports;
    /// docs/limits.md says how much memory that takes [default: 8192]
    #[arg(long, env = "SPANPROF_MAX_THREADS", value_parser = clap::value_parser!(u32).range(64..=1_000_000), value_name = "COUNT")]
    pub max_threads: Option<u32>,
    /// Maximum number of open spans that are remembered [default: 16384]
    #[arg(long, env = "SPANPROF_MAX_SPANS", value_parser = clap::value_parser!(u32).range(64..=1_000_000), value_name = "COUNT")]
    pub max_spans: Option<u32>,
    /// Bytes of the ring buffer: a power of two of at least 4096 [default: by the number of CPUs]
    #[arg(long, hide = true, value_parser = parse_ring_size)]
    pub ring_size: Option<u32>,
    /// Log every sample and span of the kernel programs at debug level
    #[arg(long, hide = true)]
    pub bpf_log: bool,
    /// Count what each stage of a sample takes in the kernel program, which adds some twenty nanoseconds each
    #[arg(long, hide = true)]
    pub time_stages: bool,
    /// Take samples by these kernel programs, and not by those that the kernel can run: to try each of them
    #[arg(long, hide = true, value_name = "KIND")]
    pub kernel_programs: Option<KernelProgramsArgument>,
    /// Put span probes on in this way alone, and not in the first that works: to try each of them
    #[arg(long, hide = true, value_name = "WAY")]
    pub span_probe_route: Option<ProbeRouteArgument>,
}

/// Which frames of machine code are shown.
#[derive(Args, Clone, Copy, Debug)]
pub struct NativeArguments {
    /// Which native and kernel frames are pushed and drawn (.svg); .pb.gz and .folded files contain all
    /// [default: merged]
    #[arg(long, env = "SPANPROF_NATIVE", value_name = "MODE")]
    pub native: Option<NativeArgument>,
}

/// Which frames of machine code are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NativeArgument {
    /// None above a Python frame, neither native nor of the kernel.
    PythonOnly,
    /// All except the interpreter's own: those become part of the Python frame that they run.
    Merged,
    /// All.
    Full,
}

/// Which span labels a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpanLabelArgument {
    /// The local root.
    LocalRoot,
    /// The active span.
    Active,
}

/// When the probes of hooks are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpanProbesArgument {
    /// As long as a process needs them.
    Auto,
    /// All the time.
    Always,
}

/// Kernel programs that take samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KernelProgramsArgument {
    /// One, for Linux 5.17 and later.
    Whole,
    /// Two halves, for earlier kernels.
    Split,
}

/// Ways to put span probes on files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ProbeRouteArgument {
    /// By links of the kind `uprobe_multi`.
    Multi,
    /// By perf's events of the kind `uprobe`.
    Perf,
    /// By events of tracefs.
    Tracefs,
}

/// How samples are labelled with the name of their span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SpanNameLabelArgument {
    /// Not at all.
    Off,
    /// As it stands.
    Raw,
}

/// Attributes of a service that label its profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceLabelArgument {
    /// service.version, as service_version.
    Version,
    /// deployment.environment.name or deployment.environment, as deployment_environment_name or
    /// deployment_environment.
    Environment,
    /// service.instance.id, as service_instance_id.
    InstanceId,
    /// No attribute.
    None,
}

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnOff {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// A time, such as 10s, 500ms or 2m.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if duration >= Duration::from_millis(100) => Ok(duration),
        Ok(_) => Err("at least 100ms".to_owned()),
        Err(error) => Err(format!("{error}; write 10s, 500ms or 2m")),
    }
}

/// A number of bytes, such as 1048576, 64MiB or 4MB.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let size: bytesize::ByteSize = text.parse().map_err(|_unparsable| {
        "write a number of bytes, such as 1048576, 64MiB or 4MB".to_owned()
    })?;
    match size.as_u64() {
        65_536.. => Ok(size.as_u64()),
        _ => Err("at least 64KiB".to_owned()),
    }
}

fn parse_tag(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn parse_percent(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('%').trim_end().parse::<f64>() {
        Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(percent),
        _ => Err("a number from 0 to 100".to_owned()),
    }
}

fn parse_ring_size(text: &str) -> Result<u32, String> {
    match text.parse::<u32>() {
        Ok(size) if size.is_power_of_two() && size >= 4096 => Ok(size),
        _ => Err("a power of two of at least 4096".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser as _};

    use super::{Cli, Command, parse_tag};

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

    /// The first = ends a tag's key.
    #[test]
    fn tags_are_split() {
        assert_eq!(
            parse_tag("region=eu=1"),
            Ok(("region".to_owned(), "eu=1".to_owned()))
        );
        assert!(parse_tag("region").is_err());
    }
}

//! The options of `agent`, which are the keys of its file.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::{
    parse::{parse_bytes, parse_duration, parse_interval, parse_tag},
    sampling::{NativeArguments, SamplingArguments},
};

/// Arguments of `agent`. Flags win over the environment, that over the file, that over the defaults.
#[derive(Args, Debug)]
pub struct AgentArguments {
    /// Pyroscope server to push to, such as http://pyroscope:4040
    #[arg(long, env = "SPANPROF_PYROSCOPE_URL", value_name = "URL")]
    pub pyroscope_url: Option<String>,
    /// How samples are taken.
    #[command(flatten)]
    pub sampling: SamplingArguments,
    /// Length of a profile, from 1s to 30s: Grafana looks for a span's profile 30 s around it
    #[arg(long, env = "SPANPROF_UPLOAD_INTERVAL", value_parser = parse_interval, default_value = "15s", value_name = "TIME")]
    pub upload_interval: Duration,
    /// What profiles are labelled with.
    #[command(flatten, next_help_heading = "Labels")]
    pub labels: LabelArguments,
    /// Lock file that keeps a second agent from running on the host. To run two agents, which push to two
    /// servers, give each its own file [default: /run/spanprof-agent.lock of the host, or in a systemd
    /// unit agent.lock in its RuntimeDirectory]
    #[arg(long, env = "SPANPROF_LOCK_FILE", value_name = "PATH")]
    pub lock_file: Option<PathBuf>,
    /// Folder for what need not outlive the agent, as systemd names it; of several the first
    #[arg(long, hide = true, env = "RUNTIME_DIRECTORY", value_name = "PATH")]
    pub runtime_directory: Option<PathBuf>,
    /// What the server asks for.
    #[command(flatten, next_help_heading = "Access to the server")]
    pub access: AccessArguments,
    /// Where pushes wait, and how fast they go.
    #[command(flatten, next_help_heading = "Pushing")]
    pub push: PushArguments,
    /// The agent's own telemetry.
    #[command(flatten, next_help_heading = "The agent's own telemetry")]
    pub telemetry: TelemetryArguments,
    /// Which frames of machine code.
    #[command(flatten)]
    pub native: NativeArguments,
    /// TOML file with the same names as these flags, with _ for -
    #[arg(long, env = "SPANPROF_CONFIG", value_name = "PATH")]
    pub config: Option<PathBuf>,
}

/// What profiles are labelled with.
#[derive(Args, Debug)]
pub struct LabelArguments {
    /// Label for every profile; may be given several times
    #[arg(long = "tag", value_parser = parse_tag, value_name = "KEY=VALUE")]
    pub tags: Vec<(String, String)>,
    /// Name of this host, for the label host_name; in Kubernetes the node's name, spec.nodeName
    /// [default: the host name that the host's first process sees]
    #[arg(long, env = "SPANPROF_HOST_NAME", value_name = "NAME")]
    pub host_name: Option<String>,
    /// Whether profiles have the label host_name. Without it, the agents of two hosts write to the same
    /// series, and the server may drop one of two profiles
    #[arg(
        long,
        env = "SPANPROF_HOST_NAME_LABEL",
        value_enum,
        default_value_t = OnOff::On,
        hide_possible_values = true,
        value_name = "on|off"
    )]
    pub host_name_label: OnOff,
    /// Attributes of a service that become labels of its profiles, if the service has them: version,
    /// environment and instance-id, separated by commas, or none. Every value makes another series, and
    /// Pyroscope's storage v1 keeps 5000 series per tenant
    #[arg(
        long,
        env = "SPANPROF_SERVICE_LABELS",
        value_delimiter = ',',
        default_value = "version,environment",
        value_name = "LIST"
    )]
    pub service_labels: Vec<ServiceLabelArgument>,
    /// Whether samples have the label span_name, with the span's name as it is (raw), or not (off). Every
    /// name makes another series of the service, and Pyroscope's storage v1 keeps 5000 series per tenant:
    /// switch it off if your span names contain ids. The label span_id, and with it the flame graph of a
    /// span, stays
    #[arg(
        long,
        env = "SPANPROF_SPAN_NAME_LABEL",
        value_enum,
        default_value_t = SpanNameLabelArgument::Raw,
        hide_possible_values = true,
        value_name = "off|raw"
    )]
    pub span_name_label: SpanNameLabelArgument,
    /// Also label samples with trace_id. Off by default: Pyroscope before 2.1 makes a series for every
    /// trace, and soon reaches its limit of series
    #[arg(
        long,
        env = "SPANPROF_TRACE_ID_LABEL",
        num_args = 0..=1,
        default_value_t = false,
        default_missing_value = "true",
        value_name = "BOOL"
    )]
    pub trace_id_label: bool,
}

/// What the server asks for, and by what it is known.
#[derive(Args, Debug)]
pub struct AccessArguments {
    /// Tenant, sent as X-Scope-OrgID
    #[arg(long, env = "SPANPROF_TENANT_ID", value_name = "ID")]
    pub tenant_id: Option<String>,
    /// User for HTTP basic authentication
    #[arg(long, env = "SPANPROF_BASIC_AUTH_USER", value_name = "USER")]
    pub basic_auth_user: Option<String>,
    /// File with the password. There is no flag for the password itself: every process can read command lines
    #[arg(long, env = "SPANPROF_BASIC_AUTH_PASSWORD_FILE", value_name = "PATH")]
    pub basic_auth_password_file: Option<PathBuf>,
    /// File with a bearer token. Like all files with secrets and certificates, the agent reads it again
    /// when it changes
    #[arg(long, env = "SPANPROF_BEARER_TOKEN_FILE", value_name = "PATH")]
    pub bearer_token_file: Option<PathBuf>,
    /// PEM file with the certificates to trust, instead of the system's (or those of SSL_CERT_FILE and
    /// SSL_CERT_DIR)
    #[arg(long, env = "SPANPROF_CA_FILE", value_name = "PATH")]
    pub ca_file: Option<PathBuf>,
    /// PEM file with the agent's certificate and those that signed it, if the server asks for one
    #[arg(long, env = "SPANPROF_CLIENT_CERTIFICATE_FILE", value_name = "PATH")]
    pub client_certificate_file: Option<PathBuf>,
    /// PEM file with that certificate's key
    #[arg(long, env = "SPANPROF_CLIENT_KEY_FILE", value_name = "PATH")]
    pub client_key_file: Option<PathBuf>,
}

/// Where pushes wait, and how fast they go.
#[derive(Args, Debug)]
pub struct PushArguments {
    /// Memory for profiles that wait while the server is down. If it is full, the agent drops the oldest
    #[arg(long, env = "SPANPROF_PUSH_QUEUE", value_parser = parse_bytes, default_value = "64MiB", value_name = "BYTES")]
    pub push_queue: usize,
    /// Requests in flight at the same time, each on its own connection
    #[arg(long, env = "SPANPROF_PUSH_REQUESTS", value_parser = clap::value_parser!(u8).range(1..=64), default_value_t = 4, value_name = "COUNT")]
    pub push_requests: u8,
    /// Bytes of profiles in one request, before compression. The agent lowers it if the server refuses a
    /// request as too large
    #[arg(long, env = "SPANPROF_PUSH_REQUEST_SIZE", value_parser = parse_bytes, default_value = "1MiB", value_name = "BYTES")]
    pub push_request_size: usize,
    /// Bytes of profiles per second, before compression. The default is what Pyroscope accepts from a
    /// tenant by default. The agent lowers it if the server answers that it is too much
    #[arg(long, env = "SPANPROF_PUSH_RATE", value_parser = parse_bytes, default_value = "4MiB", value_name = "BYTES")]
    pub push_rate: usize,
    /// How long a request may take
    #[arg(long, env = "SPANPROF_PUSH_TIMEOUT", value_parser = parse_duration, default_value = "10s", value_name = "TIME")]
    pub push_timeout: Duration,
}

/// The agent's own telemetry.
#[derive(Args, Debug)]
pub struct TelemetryArguments {
    /// Address to serve /metrics (Prometheus), /healthz, /readyz and /debug/losses on, such as
    /// 127.0.0.1:9464. Without it, the agent does not listen
    #[arg(long, env = "SPANPROF_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Server to push the agent's own metrics to with OTLP over HTTP, such as http://collector:4318
    /// [default: OTEL_EXPORTER_OTLP_ENDPOINT; without both, none are pushed]
    #[arg(long, env = "SPANPROF_TELEMETRY_OTLP_ENDPOINT", value_name = "URL")]
    pub telemetry_otlp_endpoint: Option<String>,
}

/// How samples are labelled with the name of their span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SpanNameLabelArgument {
    /// Not at all.
    Off,
    /// As it stands.
    Raw,
}

/// Attributes of a service that label its profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnOff {
    /// It is.
    On,
    /// It is not.
    Off,
}

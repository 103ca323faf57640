//! What is meant by what was typed: flags over environment over file over defaults, checked once.

#[cfg(test)]
mod deployed;
mod error;
mod once;
mod push;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    net::SocketAddr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Deserialize;

use self::push::{client_files, credentials};
pub use self::{
    error::ConfigError,
    once::{DoctorConfig, RecordConfig, Subject},
    push::Push,
};
use crate::{
    cli::{
        AgentArguments, KernelProgramsArgument, NativeArgument, NativeArguments, OnOff,
        ProbeRouteArgument, SamplingArguments, ServiceLabelArgument, SpanLabelArgument,
        SpanNameLabelArgument, SpanProbesArgument,
    },
    export::{Credentials, Tls},
    host::LockFile,
    id::ServiceAttribute,
    kernel::{Limits, Route, SamplingPrograms, default_ring_size},
    measure::Measure,
    profile::{NativeFrames, SpanLabel},
    telemetry::{self, Otlp},
};

/// Samples a second: prime to the frequencies at which things happen in programs.
pub const DEFAULT_FREQUENCY: u32 = 99;
/// Length of a window: Grafana looks for a span's profile 30 s around it.
const DEFAULT_UPLOAD_INTERVAL: Duration = Duration::from_secs(15);
/// What changes seldom, so that it makes few series.
const DEFAULT_SERVICE_LABELS: [ServiceLabelArgument; 2] = [
    ServiceLabelArgument::Version,
    ServiceLabelArgument::Environment,
];

/// How samples are taken and labelled.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// Samples a second and CPU.
    pub frequency: u32,
    /// Which span labels a sample.
    pub span_label: SpanLabel,
    /// Whether the probes of hooks are on all the time, and not only while a process needs them.
    pub keeps_probes: bool,
    /// How much is remembered.
    pub limits: Limits,
    /// Bytes of the ring buffer.
    pub ring_size: u32,
    /// Whether the kernel programs log.
    pub bpf_log: bool,
    /// Counts what each stage of a sample takes.
    pub time_stages: bool,
    /// Which kernel programs take samples; `None`: those that the kernel can run.
    pub kernel_programs: Option<SamplingPrograms>,
    /// Ways to put span probes on files.
    pub probe_routes: Vec<Route>,
}

impl Sampling {
    /// What a sample is worth.
    pub fn tick(&self) -> Measure {
        Measure::tick(self.frequency)
    }

    /// From flags and environment, with nothing from a file.
    fn from_arguments(arguments: &SamplingArguments) -> Self {
        Self::merge(arguments, &File::default())
    }

    fn merge(arguments: &SamplingArguments, file: &File) -> Self {
        Self {
            frequency: arguments
                .frequency
                .or(file.frequency)
                .unwrap_or(DEFAULT_FREQUENCY),
            span_label: arguments
                .span_label
                .or(file.span_label)
                .map_or_else(SpanLabel::default, SpanLabel::from),
            keeps_probes: arguments.span_probes.or(file.span_probes)
                == Some(SpanProbesArgument::Always),
            limits: Limits::merge(arguments, file),
            ring_size: arguments.ring_size.unwrap_or_else(default_ring_size),
            bpf_log: arguments.bpf_log,
            time_stages: arguments.time_stages,
            kernel_programs: arguments.kernel_programs.map(|programs| match programs {
                KernelProgramsArgument::Whole => SamplingPrograms::Whole,
                KernelProgramsArgument::Split => SamplingPrograms::Split,
            }),
            probe_routes: match arguments.span_probe_route {
                Some(ProbeRouteArgument::Multi) => vec![Route::Multi],
                Some(ProbeRouteArgument::Perf) => vec![Route::Perf],
                Some(ProbeRouteArgument::Tracefs) => vec![Route::Tracefs],
                None => Route::ALL.to_vec(),
            },
        }
    }
}

impl Limits {
    fn merge(arguments: &SamplingArguments, file: &File) -> Self {
        let default = Self::default();
        let of = |flag: Option<u32>, file: Option<u32>, default| flag.or(file).unwrap_or(default);
        Self {
            processes: of(
                arguments.max_processes,
                file.max_processes,
                default.processes,
            ),
            threads: of(arguments.max_threads, file.max_threads, default.threads),
            spans: of(arguments.max_spans, file.max_spans, default.spans),
        }
    }

    /// What the flags allow, the file may say, too.
    fn check(self) -> Result<(), ConfigError> {
        let settings = [
            ("max_processes", self.processes, 1),
            ("max_threads", self.threads, 64),
            ("max_spans", self.spans, 64),
        ];
        let wrong = settings
            .into_iter()
            .find(|(_, value, least)| !(*least..=1_000_000).contains(value));
        wrong.map_or(Ok(()), |(name, value, _)| {
            Err(ConfigError::Range {
                name,
                range: "up to 1000000, and not less than the flag of that name allows",
                value: value.to_string(),
            })
        })
    }
}

/// The agent's settings, checked.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// Server to push to.
    pub pyroscope_url: String,
    /// How samples are taken.
    pub sampling: Sampling,
    /// Length of a window.
    pub upload_interval: Duration,
    /// Labels for every profile.
    pub tags: Vec<(String, String)>,
    /// What the label `host_name` says.
    pub host_name: HostName,
    /// What else of a service labels its profiles.
    pub service_labels: BTreeSet<ServiceAttribute>,
    /// The file whose lock makes this the only agent.
    pub lock_file: LockFile,
    /// Tenant.
    pub tenant_id: Option<String>,
    /// User and password, or a token.
    pub credentials: Option<Credentials>,
    /// Certificates.
    pub tls: Tls,
    /// Where pushes wait, and how fast they go.
    pub push: Push,
    /// Whether samples carry `span_name`.
    pub span_name_label: bool,
    /// Whether samples carry `trace_id`.
    pub trace_id_label: bool,
    /// Which frames of machine code are sent.
    pub native: NativeFrames,
    /// What the agent tells of itself.
    pub telemetry: telemetry::Settings,
}

/// What the label `host_name` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostName {
    /// There is no such label.
    Off,
    /// What the host says it is called.
    Found,
    /// What the user calls it.
    Given(String),
}

/// The file of `--config`: the agent's flags, with `_` for `-`.
#[expect(
    clippy::struct_field_names,
    reason = "the names are those of the flags"
)]
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    pyroscope_url: Option<String>,
    frequency: Option<u32>,
    span_label: Option<SpanLabelArgument>,
    span_probes: Option<SpanProbesArgument>,
    max_processes: Option<u32>,
    max_threads: Option<u32>,
    max_spans: Option<u32>,
    upload_interval: Option<String>,
    #[serde(default)]
    tags: std::collections::BTreeMap<String, String>,
    host_name: Option<String>,
    host_name_label: Option<OnOff>,
    lock_file: Option<PathBuf>,
    service_labels: Option<Vec<ServiceLabelArgument>>,
    tenant_id: Option<String>,
    basic_auth_user: Option<String>,
    basic_auth_password_file: Option<PathBuf>,
    bearer_token_file: Option<PathBuf>,
    ca_file: Option<PathBuf>,
    client_certificate_file: Option<PathBuf>,
    client_key_file: Option<PathBuf>,
    push_queue: Option<String>,
    push_requests: Option<u32>,
    push_request_size: Option<String>,
    push_rate: Option<String>,
    push_timeout: Option<String>,
    span_name_label: Option<SpanNameLabelArgument>,
    trace_id_label: Option<bool>,
    native: Option<NativeArgument>,
    listen: Option<SocketAddr>,
    telemetry_otlp_endpoint: Option<String>,
}

impl AgentConfig {
    /// Reads the file, if one is named, and checks everything.
    pub fn from_arguments(arguments: AgentArguments) -> Result<Self, ConfigError> {
        let file = arguments
            .config
            .clone()
            .map_or_else(|| Ok(File::default()), read)?;
        let sampling = Sampling::merge(&arguments.sampling, &file);
        sampling.limits.check()?;
        if !(1..=4999).contains(&sampling.frequency) {
            return Err(ConfigError::Range {
                name: "frequency",
                range: "from 1 to 4999",
                value: sampling.frequency.to_string(),
            });
        }
        let interval = arguments
            .upload_interval
            .map_or_else(|| file_interval(&file), Ok)?;
        let push = Push::merge(&arguments.push, &file)?;
        let credentials = credentials(
            arguments.basic_auth_user.or(file.basic_auth_user),
            arguments
                .basic_auth_password_file
                .or(file.basic_auth_password_file),
            arguments.bearer_token_file.or(file.bearer_token_file),
        )?;
        let tls = Tls {
            ca_file: arguments.ca_file.or(file.ca_file),
            client: client_files(
                arguments
                    .client_certificate_file
                    .or(file.client_certificate_file),
                arguments.client_key_file.or(file.client_key_file),
            )?,
        };
        let mut tags = Vec::from_iter(file.tags);
        tags.retain(|(key, _)| !arguments.tags.iter().any(|(flag, _)| flag == key));
        tags.extend(arguments.tags);
        Ok(Self {
            pyroscope_url: arguments
                .pyroscope_url
                .or(file.pyroscope_url)
                .ok_or(ConfigError::NoServer)?,
            sampling,
            upload_interval: check_interval(interval)?,
            tags,
            host_name: match arguments.host_name_label.or(file.host_name_label) {
                Some(OnOff::Off) => HostName::Off,
                Some(OnOff::On) | None => arguments
                    .host_name
                    .or(file.host_name)
                    .map_or(HostName::Found, HostName::Given),
            },
            service_labels: service_labels(arguments.service_labels.or(file.service_labels))?,
            lock_file: lock_file(
                arguments.lock_file.or(file.lock_file),
                arguments.runtime_directory,
            ),
            tenant_id: arguments.tenant_id.or(file.tenant_id),
            credentials,
            tls,
            push,
            span_name_label: arguments
                .span_name_label
                .or(file.span_name_label)
                .is_none_or(|how| how == SpanNameLabelArgument::Raw),
            trace_id_label: arguments
                .trace_id_label
                .or(file.trace_id_label)
                .unwrap_or(false),
            native: native_frames(arguments.native, file.native),
            telemetry: telemetry::Settings {
                listen: arguments.telemetry.listen.or(file.listen),
                otlp: Otlp::wanted(
                    arguments
                        .telemetry
                        .telemetry_otlp_endpoint
                        .or(file.telemetry_otlp_endpoint),
                    |name| std::env::var(name).ok(),
                ),
            },
        })
    }
}

/// Which frames of machine code are shown, by flags and environment, else by a file.
fn native_frames(arguments: NativeArguments, file: Option<NativeArgument>) -> NativeFrames {
    match arguments.native.or(file) {
        Some(NativeArgument::PythonOnly) => NativeFrames::PythonOnly,
        Some(NativeArgument::Merged) => NativeFrames::Merged,
        Some(NativeArgument::Full) => NativeFrames::Full,
        None => NativeFrames::default(),
    }
}

fn read(path: PathBuf) -> Result<File, ConfigError> {
    match fs::read_to_string(&path) {
        Ok(text) => toml::from_str(&text).map_err(|error| ConfigError::Invalid {
            path,
            error: Box::new(error),
        }),
        Err(error) => Err(ConfigError::Unreadable { path, error }),
    }
}

/// Which file is locked, by a flag or by what systemd says.
fn lock_file(named: Option<PathBuf>, runtime_directory: Option<PathBuf>) -> LockFile {
    match (named, runtime_directory) {
        (Some(path), _) => LockFile::Named(path),
        (None, Some(folders)) => LockFile::OfUnit(first_folder(&folders)),
        (None, None) => LockFile::OfHost,
    }
}

/// The first of the folders that systemd names, with colons between them.
fn first_folder(folders: &Path) -> PathBuf {
    let bytes = folders.as_os_str().as_bytes();
    let first = bytes.split(|&byte| byte == b':').next();
    PathBuf::from(OsStr::from_bytes(first.unwrap_or_default()))
}

/// The attributes that a list stands for.
fn service_labels(
    list: Option<Vec<ServiceLabelArgument>>,
) -> Result<BTreeSet<ServiceAttribute>, ConfigError> {
    use ServiceAttribute::{Environment, EnvironmentName, InstanceId, Version};
    let list = list.unwrap_or_else(|| DEFAULT_SERVICE_LABELS.to_vec());
    if list.len() > 1 && list.contains(&ServiceLabelArgument::None) {
        return Err(ConfigError::NoneAndMore);
    }
    let mut attributes = BTreeSet::new();
    for label in list {
        match label {
            ServiceLabelArgument::Version => attributes.extend([Version]),
            ServiceLabelArgument::Environment => {
                attributes.extend([EnvironmentName, Environment]);
            }
            ServiceLabelArgument::InstanceId => attributes.extend([InstanceId]),
            ServiceLabelArgument::None => {}
        }
    }
    Ok(attributes)
}

fn file_interval(file: &File) -> Result<Duration, ConfigError> {
    let Some(text) = &file.upload_interval else {
        return Ok(DEFAULT_UPLOAD_INTERVAL);
    };
    humantime::parse_duration(text).map_err(|_unparsable| interval_error(text.clone()))
}

fn check_interval(interval: Duration) -> Result<Duration, ConfigError> {
    if (Duration::from_secs(1)..=Duration::from_secs(30)).contains(&interval) {
        return Ok(interval);
    }
    Err(interval_error(
        humantime::format_duration(interval).to_string(),
    ))
}

fn interval_error(value: String) -> ConfigError {
    ConfigError::Range {
        name: "upload_interval",
        range: "from 1s to 30s",
        value,
    }
}

impl From<SpanLabelArgument> for SpanLabel {
    fn from(argument: SpanLabelArgument) -> Self {
        match argument {
            SpanLabelArgument::LocalRoot => Self::LocalRoot,
            SpanLabelArgument::Active => Self::Active,
        }
    }
}

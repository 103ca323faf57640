//! What is meant by what was typed: flags over environment over file over defaults, checked once.

use std::{fs, path::PathBuf, time::Duration};

use serde::Deserialize;

use crate::{
    cli::{AgentArguments, SamplingArguments, SpanLabelArgument, SpanProbesArgument, check_tag},
    kernel::{Limits, default_ring_size},
};

/// Samples a second: prime to the frequencies at which things happen in programs.
pub const DEFAULT_FREQUENCY: u32 = 99;
/// Length of a window: Grafana looks for a span's profile 30 s around it.
const DEFAULT_UPLOAD_INTERVAL: Duration = Duration::from_secs(15);

/// How samples are taken and labelled.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// Samples a second and CPU.
    pub frequency: u32,
    /// Which span labels a sample.
    pub span_label: SpanLabelArgument,
    /// When the probes of hooks are on.
    pub span_probes: SpanProbesArgument,
    /// How much is remembered.
    pub limits: Limits,
    /// Bytes of the ring buffer.
    pub ring_size: u32,
    /// Whether the kernel programs log.
    pub bpf_log: bool,
    /// Counts what each stage of a sample takes.
    pub time_stages: bool,
}

impl Sampling {
    /// Nanoseconds of CPU time one sample stands for.
    pub fn period(&self) -> u64 {
        1_000_000_000 / u64::from(self.frequency.max(1))
    }

    /// From flags and environment, with nothing from a file.
    pub fn from_arguments(arguments: &SamplingArguments) -> Self {
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
                .unwrap_or(SpanLabelArgument::LocalRoot),
            span_probes: arguments
                .span_probes
                .or(file.span_probes)
                .unwrap_or(SpanProbesArgument::Auto),
            limits: Limits::merge(arguments, file),
            ring_size: arguments.ring_size.unwrap_or_else(default_ring_size),
            bpf_log: arguments.bpf_log,
            time_stages: arguments.time_stages,
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
    /// Tenant.
    pub tenant_id: Option<String>,
    /// User and password.
    pub basic_auth: Option<(String, String)>,
    /// Whether samples carry `trace_id`.
    pub trace_id_label: bool,
}

/// Settings that make no sense.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A tag of the file is none that a server would take.
    #[error("a tag of the file: {0}")]
    Tag(String),
    /// The file cannot be read.
    #[error("cannot read {path}: {error}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path} is not a valid configuration: {error}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Why.
        error: Box<toml::de::Error>,
    },
    /// Nothing says where to push.
    #[error(
        "no server to push to: give --pyroscope-url http://host:4040, or SPANPROF_PYROSCOPE_URL, or pyroscope_url in the file of --config"
    )]
    NoServer,
    /// Half of a user and password.
    #[error("--basic-auth-user and --basic-auth-password-file go together: one of them is missing")]
    HalfAuth,
    /// A value out of its range.
    #[error("{name} must be {range}, not {value}")]
    Range {
        /// The setting.
        name: &'static str,
        /// What it may be.
        range: &'static str,
        /// What it is.
        value: String,
    },
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
    tenant_id: Option<String>,
    basic_auth_user: Option<String>,
    basic_auth_password_file: Option<PathBuf>,
    trace_id_label: Option<bool>,
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
        let user = arguments.basic_auth_user.or(file.basic_auth_user);
        let password = arguments
            .basic_auth_password_file
            .or(file.basic_auth_password_file);
        let mut tags = Vec::new();
        for (key, value) in file.tags {
            tags.push(check_tag(key, value).map_err(ConfigError::Tag)?);
        }
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
            tenant_id: arguments.tenant_id.or(file.tenant_id),
            basic_auth: basic_auth(user, password)?,
            trace_id_label: arguments
                .trace_id_label
                .or(file.trace_id_label)
                .unwrap_or(false),
        })
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

fn basic_auth(
    user: Option<String>,
    password: Option<PathBuf>,
) -> Result<Option<(String, String)>, ConfigError> {
    match (user, password) {
        (None, None) => Ok(None),
        (Some(user), Some(path)) => match fs::read_to_string(&path) {
            Ok(password) => Ok(Some((
                user,
                password.trim_end_matches(['\r', '\n']).to_owned(),
            ))),
            Err(error) => Err(ConfigError::Unreadable { path, error }),
        },
        _ => Err(ConfigError::HalfAuth),
    }
}

impl From<SpanLabelArgument> for crate::profile::SpanLabel {
    fn from(argument: SpanLabelArgument) -> Self {
        match argument {
            SpanLabelArgument::LocalRoot => Self::LocalRoot,
            SpanLabelArgument::Active => Self::Active,
        }
    }
}

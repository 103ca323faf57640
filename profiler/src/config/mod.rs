//! What is meant by what was typed: flags over environment over file over defaults, checked once.

#[cfg(test)]
mod deployed;
mod error;
mod file;
mod once;
mod push;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use self::push::{client_files, credentials};
pub use self::{
    error::ConfigError,
    file::command_line,
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

/// How samples are taken and labelled.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a setting that has no bearing on the others"
)]
pub struct Sampling {
    /// Samples a second and CPU.
    pub frequency: u32,
    /// Which span labels a sample.
    pub span_label: SpanLabel,
    /// Whether the probes of hooks are on all the time, and not only while a process needs them.
    pub keeps_probes: bool,
    /// Whether samples carry the ids of spans that are not recorded.
    pub not_recorded_ids: bool,
    /// How much is remembered.
    pub limits: Limits,
    /// Python frames that are walked in a sample.
    pub python_depth: u32,
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
}

impl From<&SamplingArguments> for Sampling {
    fn from(arguments: &SamplingArguments) -> Self {
        Self {
            frequency: arguments.frequency,
            span_label: arguments.span_label.into(),
            keeps_probes: arguments.span_probes == SpanProbesArgument::Always,
            not_recorded_ids: arguments.not_recorded_ids,
            limits: Limits {
                processes: arguments.max_processes,
                threads: arguments.max_threads,
                spans: arguments.max_spans,
            },
            python_depth: arguments.python_depth,
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
    /// The agent's own telemetry.
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

impl AgentConfig {
    /// From the options, each of which is checked already; checks what they say together.
    pub fn from_arguments(arguments: AgentArguments) -> Result<Self, ConfigError> {
        let AgentArguments {
            labels,
            access,
            telemetry,
            ..
        } = arguments;
        Ok(Self {
            pyroscope_url: arguments.pyroscope_url.ok_or(ConfigError::NoServer)?,
            sampling: Sampling::from(&arguments.sampling),
            upload_interval: arguments.upload_interval,
            tags: labels.tags,
            host_name: match (labels.host_name_label, labels.host_name) {
                (OnOff::Off, _) => HostName::Off,
                (OnOff::On, Some(name)) => HostName::Given(name),
                (OnOff::On, None) => HostName::Found,
            },
            service_labels: service_labels(&labels.service_labels)?,
            lock_file: lock_file(arguments.lock_file, arguments.runtime_directory),
            credentials: credentials(&access)?,
            tls: Tls {
                client: client_files(&access)?,
                ca_file: access.ca_file,
            },
            tenant_id: access.tenant_id,
            push: arguments.push.into(),
            span_name_label: labels.span_name_label == SpanNameLabelArgument::Raw,
            trace_id_label: labels.trace_id_label,
            native: arguments.native.into(),
            telemetry: telemetry::Settings {
                listen: telemetry.listen,
                otlp: Otlp::wanted(telemetry.telemetry_otlp_endpoint, |name| {
                    std::env::var(name).ok()
                }),
            },
        })
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
    list: &[ServiceLabelArgument],
) -> Result<BTreeSet<ServiceAttribute>, ConfigError> {
    use ServiceAttribute::{Environment, EnvironmentName, InstanceId, Version};
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

impl From<NativeArguments> for NativeFrames {
    fn from(arguments: NativeArguments) -> Self {
        match arguments.native {
            NativeArgument::PythonOnly => Self::PythonOnly,
            NativeArgument::Merged => Self::Merged,
            NativeArgument::Full => Self::Full,
        }
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

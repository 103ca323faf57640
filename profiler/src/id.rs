//! Identities. A number that names something has a type of its own.

use std::{collections::BTreeMap, fmt};

/// A process, by its thread group id in the initial pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pid(pub u32);

impl fmt::Display for Pid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A thread, by its id in the initial pid namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tid(pub u32);

impl fmt::Display for Tid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One process and no other: pids are reused, start times with them are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// Its pid.
    pub pid: Pid,
    /// When it started, in clock ticks since boot: field 22 of `/proc/PID/stat`.
    pub start_time: u64,
}

/// An OpenTelemetry span id: the number whose 16 hex digits are the W3C id. Never 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(std::num::NonZeroU64);

impl SpanId {
    /// The id, or `None` for 0, which W3C calls invalid.
    pub fn new(id: u64) -> Option<Self> {
        std::num::NonZeroU64::new(id).map(Self)
    }

    /// The number.
    pub fn get(self) -> u64 {
        self.0.get()
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// An OpenTelemetry trace id: the number whose 32 hex digits are the W3C id. Never 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(std::num::NonZeroU128);

impl TraceId {
    /// The id from its two halves, or `None` for 0, which W3C calls invalid.
    pub fn from_halves(high: u64, low: u64) -> Option<Self> {
        std::num::NonZeroU128::new((u128::from(high) << 64) | u128::from(low)).map(Self)
    }
}

/// The ids of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanIds {
    /// The span.
    pub id: SpanId,
    /// Its trace.
    pub trace: Option<TraceId>,
}

impl fmt::Display for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The service that a process's CPU is counted for, in OpenTelemetry's terms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    /// `service.name`; never empty.
    pub name: String,
    /// `service.namespace`; empty if there is none.
    pub namespace: String,
    /// What else tells its profiles apart, as far as that is wanted; no value is empty.
    pub attributes: BTreeMap<ServiceAttribute, String>,
}

/// An attribute of a service's resource that may tell its profiles apart, by OpenTelemetry's semantic
/// conventions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceAttribute {
    /// `service.version`.
    Version,
    /// `deployment.environment.name`.
    EnvironmentName,
    /// `deployment.environment`: what that was called before release 1.27 of the conventions.
    Environment,
    /// `service.instance.id`.
    InstanceId,
}

impl ServiceAttribute {
    /// Every one.
    pub const ALL: [Self; 4] = [
        Self::Version,
        Self::EnvironmentName,
        Self::Environment,
        Self::InstanceId,
    ];

    /// What it is called in a resource.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Version => "service.version",
            Self::EnvironmentName => "deployment.environment.name",
            Self::Environment => "deployment.environment",
            Self::InstanceId => "service.instance.id",
        }
    }

    /// What it is called as a label: the same with underscores, which every query can spell.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Version => "service_version",
            Self::EnvironmentName => "deployment_environment_name",
            Self::Environment => "deployment_environment",
            Self::InstanceId => "service_instance_id",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ServiceAttribute;

    /// A label is its attribute with underscores.
    #[test]
    fn labels_of_attributes() {
        for attribute in ServiceAttribute::ALL {
            assert_eq!(attribute.label(), attribute.name().replace('.', "_"));
        }
    }
}

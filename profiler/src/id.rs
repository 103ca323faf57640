//! Identities. A number that names something has a type of its own.

use std::fmt;

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

/// Who owns a process's CPU, in OpenTelemetry's terms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    /// `service.name`; never empty.
    pub name: String,
    /// `service.namespace`; empty where there is none.
    pub namespace: String,
}

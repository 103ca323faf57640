//! Profiles to a Pyroscope.
//!
//! ```text
//!  windows ──▶ encode (on the exporter's thread) ──Encoded──▶ worker (a task) ──▶ queue, pace: what goes when
//!                                                                │
//!                                                                └─▶ client ──▶ transport ──▶ the server
//!                                                                       ▲                        │
//!                                                                       └─ retry: what it means ◀┘
//! ```

mod backlog;
mod client;
mod encode;
pub mod proto;
mod queue;
pub mod series;
mod worker;

use std::time::Duration;

pub use self::{client::PATH, encode::start, series::SeriesLabels};
use super::{Credentials, Error, PaceLimits, Tls, retry::Policy};
use crate::profile::{Key, NativeFrames, Projection, SpanLabel, labels, pprof, split::Limits};

/// What a Pyroscope takes in one profile, by default. The size is its burst limit of 2 MiB, charged with the
/// uncompressed profile and the labels of its series in one go (a larger one is always refused with 429), less what the
/// labels may take. It keeps one profile per series and whole millisecond (storage v1) or nanosecond (v2); it answers
/// 200 to a second one and discards it.
pub const LIMITS: Limits = Limits {
    bytes: 2 * 1024 * 1024 - 128 * 1024,
    samples: 16_000,
    apart: 1_000_000,
};

/// It refuses a whole profile for a longer value of a label, as `span_name` becomes a series label there.
const MAX_VALUE: usize = 2_048;
/// It cuts longer strings, and keeps their tails.
const MAX_STRING: usize = 65_534;
/// It drops the leaf of a deeper stack.
const MAX_DEPTH: usize = 1_000;
const _: () = assert!(
    labels::MAX_VALUE <= MAX_VALUE
        && pprof::MAX_STRING <= MAX_STRING
        && pprof::MAX_DEPTH <= MAX_DEPTH,
    "what is encoded is what a Pyroscope takes"
);

/// The labels that make few series on the server, and every frame except the interpreter's. All labels but `span_id`
/// and `trace_id` become series labels there (`pkg/model/pprofsplit` of grafana/pyroscope): one series for each span
/// name, and on servers before 2.1 one for each trace.
pub fn projection(span_label: SpanLabel, span_name: bool, trace_id: bool) -> Projection {
    let wanted = [
        (Key::SpanId, true),
        (Key::SpanName, span_name),
        (Key::TraceId, trace_id),
        (Key::ContainerId, true),
    ];
    let wanted = wanted.into_iter().filter(|(_, is_wanted)| *is_wanted);
    Projection {
        span_label,
        keys: wanted.map(|(key, _)| key).collect(),
        native: NativeFrames::default(),
    }
}

/// The address of a Pyroscope, and how the agent identifies itself to it.
#[derive(Clone, Debug)]
pub struct Pyroscope {
    /// Its address, `http://host:4040`, with a path prefix if it has one.
    pub url: String,
    /// `X-Scope-OrgID`, if the server has several tenants.
    pub tenant_id: Option<String>,
    /// User and password, or a token, if it asks for them.
    pub credentials: Option<Credentials>,
    /// Certificates, if its address is `https://`.
    pub tls: Tls,
    /// Labels put on every series.
    pub series: SeriesLabels,
    /// How long a push may take.
    pub timeout: Duration,
}

impl Pyroscope {
    /// A server without tenants, passwords or tags.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            tenant_id: None,
            credentials: None,
            tls: Tls::default(),
            series: SeriesLabels::default(),
            timeout: Duration::from_secs(10),
        }
    }

    /// Refuses an address, a tenant or labels that no server would take.
    pub fn check(&self) -> Result<(), Error> {
        series::check_url(&self.url)?;
        self.tenant_id
            .as_deref()
            .map_or(Ok(()), series::check_tenant)?;
        self.series.check()
    }
}

/// How profiles are sent.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to.
    pub server: Pyroscope,
    /// When to try again.
    pub retry: Policy,
    /// What the server takes in one profile.
    pub limits: Limits,
    /// Which labels and frames are sent.
    pub projection: Projection,
    /// Limits of the size, the number and the rate of requests.
    pub pace: PaceLimits,
    /// Bytes of memory that profiles may take while they wait.
    pub queue_bytes: usize,
}

impl Settings {
    /// The defaults towards a server.
    pub fn new(server: Pyroscope) -> Self {
        Self {
            server,
            retry: Policy::default(),
            limits: LIMITS,
            projection: projection(SpanLabel::default(), true, false),
            pace: PaceLimits::default(),
            queue_bytes: 64 * 1024 * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Credentials, Pyroscope};

    /// What no server would take is refused before anything is sent; no password is shown.
    #[test]
    fn check() {
        let server = Pyroscope::new("https://host/prefix/");
        server.check().unwrap();
        Pyroscope::new("host:4040").check().unwrap_err();
        let mut tenant = server.clone();
        tenant.tenant_id = Some("a|b".to_owned());
        tenant.check().unwrap_err();
        let mut tagged = server;
        tagged.series.tags = vec![("service_name".to_owned(), "x".to_owned())];
        tagged.check().unwrap_err();
        let credentials = Credentials::Basic {
            user: "me".to_owned(),
            password_file: "/run/secrets/password".into(),
        };
        assert!(!format!("{credentials:?}").contains("password"));
    }
}

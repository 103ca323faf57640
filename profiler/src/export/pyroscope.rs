//! Pushes to Pyroscope: what a request holds, and what its answer means.
//!
//! `POST {base}/push.v1.PusherService/Push`, a Connect unary call: what the official SDK sends. A request
//! holds several series with one profile each. The server stores them one by one; if it refuses one, it
//! stores the others and answers with one error. What was in such a request is sent again with the same
//! times: of what it has already the server keeps one (storage v2 shows both until it compacts).

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use super::{
    Error,
    proto::{PushRequest, RawProfileSeries, RawSample},
    queue::Item,
    retry::{Outcome, classify},
    series::{self, SeriesLabels},
    transport::{self, Credentials, Delivery, Tls, Transport},
};
use crate::profile::{Key, NativeFrames, Projection, SpanLabel, labels, pprof, split::Limits};

/// What a Pyroscope takes in one profile, by default. The size is its burst limit of 2 MiB, charged with the
/// uncompressed profile and the labels of its series in one go (a larger one is refused with 429 for ever), less
/// what the labels may take. It keeps one profile per series and whole millisecond (storage v1) or nanosecond
/// (v2), and throws a twin away after it has said 200.
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

/// The labels that it keeps few series by, and every frame but those of the interpreter. All labels but `span_id`
/// and `trace_id` become series labels there (`pkg/model/pprofsplit` of grafana/pyroscope): one series for each
/// span name, and on servers before 2.1 one for each trace.
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

/// Path of the call below the server's address.
pub const PATH: &str = "/push.v1.PusherService/Push";

/// Where a Pyroscope is and how it knows us.
#[derive(Clone, Debug)]
pub struct Pyroscope {
    /// Its address, `http://host:4040`, with a path prefix where it has one.
    pub url: String,
    /// `X-Scope-OrgID`, where the server has several tenants.
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

/// The way to a Pyroscope.
#[derive(Debug)]
pub(super) struct Client {
    transport: Transport,
}

impl Client {
    /// Reads certificates and secrets; `connections` are kept open.
    pub(super) fn new(server: &Pyroscope, connections: usize) -> Result<Self, Error> {
        let mut headers = vec![
            ("content-type", "application/proto".to_owned()),
            ("connect-protocol-version", "1".to_owned()),
        ];
        if let Some(tenant) = &server.tenant_id {
            headers.push(("x-scope-orgid", tenant.clone()));
        }
        let transport = Transport::new(transport::Settings {
            url: format!("{}{PATH}", server.url.trim_end_matches('/')),
            headers,
            credentials: server.credentials.clone(),
            tls: server.tls.clone(),
            timeout: server.timeout,
            connections,
        })?;
        Ok(Self { transport })
    }

    /// Pushes profiles in one request; takes `most` at the longest, or the server's time-out.
    pub(super) async fn push(&self, body: Bytes, most: Duration) -> Outcome {
        match self.transport.post(body, most).await {
            Delivery::Answered(answer) => classify(&answer),
            Delivery::NotSent(reason) => Outcome::Unavailable { reason },
            Delivery::Lost(reason) => Outcome::Unknown { reason },
        }
    }
}

/// The body of a push. Its profiles are compressed each by itself, so that they are whatever they are sent
/// with, and the body as a whole is not.
pub(super) fn body(items: &[Item]) -> Bytes {
    let series = items.iter().map(|Item { encoded, .. }| RawProfileSeries {
        labels: encoded.labels.to_vec(),
        samples: vec![RawSample {
            raw_profile: encoded.pprof.to_vec(),
            id: encoded.id.clone(),
        }],
    });
    let request = PushRequest {
        series: series.collect(),
    };
    request.encode_to_vec().into()
}

/// Which of the profiles the server's words are about: some of its errors name the id of one.
pub(super) fn blamed(reason: &str, items: &[Item]) -> Option<usize> {
    items
        .iter()
        .position(|item| reason.contains(&item.encoded.id))
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

//! Pushes to Pyroscope: what a request holds, and what its answer means.
//!
//! `POST {base}/push.v1.PusherService/Push`, a Connect unary call: what the official SDK sends. A request holds several
//! series with one profile each. The server stores them one by one; if it refuses one, it stores the others and answers
//! with one error. The agent sends the profiles of such a request again with the same times: of a profile that the
//! server has already, it keeps one (storage v2 shows both until it compacts).

use std::time::Duration;

use bytes::Bytes;
use prost::Message as _;

use super::{
    Pyroscope,
    proto::{PushRequest, RawProfileSeries, RawSample},
    queue::Item,
};
use crate::export::{
    Error,
    retry::{Outcome, classify},
    transport::{self, Delivery, Transport},
};

/// Path of the call below the server's address.
pub const PATH: &str = "/push.v1.PusherService/Push";

/// A connection to a Pyroscope.
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

    /// Pushes profiles in one request; takes at most `most`, or the server's time-out if that is shorter.
    pub(super) async fn push(&self, body: Bytes, most: Duration) -> Outcome {
        match self.transport.post(body, most).await {
            Delivery::Answered(answer) => classify(&answer),
            Delivery::NotSent(reason) => Outcome::Unavailable { reason },
            Delivery::Lost(reason) => Outcome::Unknown { reason },
        }
    }
}

/// The body of a push. Each profile is compressed separately, so that its bytes do not depend on the others in the
/// request; the body as a whole is not compressed.
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

/// Which of the profiles the server's error is about: some of its errors contain the id of one.
pub(super) fn blamed(reason: &str, items: &[Item]) -> Option<usize> {
    items
        .iter()
        .position(|item| reason.contains(&item.encoded.id))
}

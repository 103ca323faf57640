//! Pushes to Pyroscope: what a request holds, and what its answer means.
//!
//! `POST {base}/push.v1.PusherService/Push`, a Connect unary call: what the official SDK sends. A request
//! holds several series with one profile each. The server stores them one by one; if it refuses one, it
//! stores the others and answers with one error. What was in such a request is sent again with the same
//! times: of what it has already the server keeps one (storage v2 shows both until it compacts).

use std::{collections::BTreeSet, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use reqwest::Url;

use super::{
    Error,
    proto::{LabelPair, PushRequest, RawProfileSeries, RawSample},
    queue::Item,
    retry::{Outcome, classify},
    transport::{self, Credentials, Delivery, Tls, Transport},
};
use crate::{
    id::Service,
    profile::labels::{self, cut_value},
};

/// Path of the call below the server's address.
pub const PATH: &str = "/push.v1.PusherService/Push";
/// User tags at most: the server takes 30 labels per series, the rest is ours.
pub const MAX_TAGS: usize = 20;

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
    pub tags: Vec<(String, String)>,
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
            tags: Vec::new(),
            timeout: Duration::from_secs(10),
        }
    }

    /// Refuses an address or tags that no server would take.
    pub fn check(&self) -> Result<(), Error> {
        check_url(&self.url)?;
        let mut names = BTreeSet::new();
        for (name, value) in &self.tags {
            let refuse = |reason| Error::Tag {
                name: name.clone(),
                reason,
            };
            check_tag(name, value).map_err(refuse)?;
            if !names.insert(name) {
                return Err(refuse("it is given twice"));
            }
            if names.len() > MAX_TAGS {
                return Err(refuse("there are more than 20 tags"));
            }
        }
        Ok(())
    }

    /// The series. What the server computes from the profile must not be sent; names that a Grafana
    /// selector has to hit are spelled with underscores.
    pub(super) fn labels(&self, service: &Service) -> Vec<LabelPair> {
        let own = [
            ("__name__", "process_cpu"),
            (labels::SERVICE_NAME, service.name.as_str()),
            ("service_namespace", service.namespace.as_str()),
            ("otel.scope.name", "spanprof"),
            ("otel.scope.version", env!("CARGO_PKG_VERSION")),
            // Tells the server the language, which it would guess from file names.
            ("pyroscope_spy", "pyspy"),
        ];
        let tags = self.tags.iter();
        own.into_iter()
            .chain(tags.map(|(name, value)| (name.as_str(), value.as_str())))
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| {
                let (name, mut value) = (name.to_owned(), value.to_owned());
                cut_value(&mut value);
                LabelPair { name, value }
            })
            .collect()
    }
}

fn check_url(url: &str) -> Result<(), Error> {
    if url.contains('@') {
        return Err(Error::UrlWithUser);
    }
    let parsed = Url::parse(url).ok();
    let is_server = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    if parsed.as_ref().is_some_and(is_server) {
        return Ok(());
    }
    Err(Error::Url {
        url: url.to_owned(),
    })
}

fn check_tag(name: &str, value: &str) -> Result<(), &'static str> {
    let own = [
        labels::SERVICE_NAME,
        "service_namespace",
        labels::SPAN_ID,
        labels::SPAN_NAME,
        labels::TRACE_ID,
        "otel.scope.name",
        "otel.scope.version",
        "pyroscope_spy",
        "profile_id",
    ];
    if name.is_empty() || value.is_empty() {
        return Err("neither key nor value may be empty");
    }
    if name.starts_with("__") || own.contains(&name) {
        return Err("the name is spanprof's or the server's own");
    }
    if name.len() > 1_024 || value.len() > labels::MAX_VALUE {
        return Err("a key may have 1024 bytes and a value 2048");
    }
    Ok(())
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

    /// Addresses without scheme or with a password, and tags the server would refuse, are refused
    /// first; no password is shown.
    #[test]
    fn check() {
        Pyroscope::new("https://host/prefix/").check().unwrap();
        for url in ["host:4040", "ftp://host", "", "http://"] {
            assert!(Pyroscope::new(url).check().is_err(), "{url}");
        }
        let error = Pyroscope::new("http://me:secret@host").check().unwrap_err();
        assert!(!error.to_string().contains("secret"));
        assert!(error.to_string().contains("--basic-auth-user"), "{error}");
        let tagged = |tags: &[(&str, &str)]| {
            let mut server = Pyroscope::new("http://host");
            let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
            server.tags = tags.iter().map(owned).collect();
            server.check()
        };
        tagged(&[("region", "eu")]).unwrap();
        for tags in [
            [("a", "1"), ("a", "2")],
            [("a", ""), ("b", "")],
            [("a", "1"), ("service_name", "x")],
            [("a", "1"), ("__x", "x")],
        ] {
            tagged(&tags).unwrap_err();
        }
        let credentials = Credentials::Basic {
            user: "me".to_owned(),
            password_file: "/run/secrets/password".into(),
        };
        assert!(!format!("{credentials:?}").contains("password"));
    }
}

//! One push to Pyroscope, and what its answer means.
//!
//! `POST {base}/push.v1.PusherService/Push`, a Connect unary call: what the official SDK sends.
//! One series with one profile per request, as the server stores the series of a request one by one and
//! does not say which of them it has.

use std::{collections::BTreeSet, fmt, io, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use prost::Message as _;
use ureq::{Agent, http::Uri};

use super::{
    Error, file,
    proto::{LabelPair, PushRequest, RawProfileSeries, RawSample},
    retry::{Outcome, classify},
};
use crate::{
    id::Service,
    profile::labels::{self, cut_value},
};

/// Path of the call below the server's address.
pub const PATH: &str = "/push.v1.PusherService/Push";
/// User tags at most: the server takes 30 labels per series, the rest is ours.
pub const MAX_TAGS: usize = 20;

const USER_AGENT: &str = concat!("spanprof/", env!("CARGO_PKG_VERSION"));

/// Where a Pyroscope is and how it knows us.
#[derive(Clone, Debug)]
pub struct Pyroscope {
    /// Its address, `http://host:4040`, with a path prefix where it has one.
    pub url: String,
    /// `X-Scope-OrgID`, where the server has several tenants.
    pub tenant_id: Option<String>,
    /// User and password, where it asks for them.
    pub basic_auth: Option<BasicAuth>,
    /// Labels put on every series.
    pub tags: Vec<(String, String)>,
    /// How long a push may take.
    pub timeout: Duration,
}

/// A user and a password; the latter is never shown.
#[derive(Clone)]
pub struct BasicAuth {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

impl fmt::Debug for BasicAuth {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "BasicAuth({}, …)", self.user)
    }
}

impl Pyroscope {
    /// A server without tenants, passwords or tags.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            tenant_id: None,
            basic_auth: None,
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

    /// The body of a push: gzipped. `pprof` is one uncompressed message.
    pub(super) fn body(&self, service: &Service, pprof: Vec<u8>) -> io::Result<Vec<u8>> {
        let request = PushRequest {
            series: vec![RawProfileSeries {
                labels: self.labels(service),
                samples: vec![RawSample {
                    raw_profile: pprof,
                    id: uuid::Uuid::new_v4().to_string(),
                }],
            }],
        };
        file::gzip(&request.encode_to_vec())
    }

    /// The series. What the server computes from the profile must not be sent; names that a Grafana
    /// selector has to hit are spelled with underscores.
    fn labels(&self, service: &Service) -> Vec<LabelPair> {
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
    let uri: Option<Uri> = url.parse().ok();
    let scheme = uri.as_ref().and_then(Uri::scheme_str);
    let host = uri.as_ref().and_then(Uri::host);
    if matches!(scheme, Some("http" | "https")) && host.is_some() {
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

/// A connection to a server.
pub(super) struct Client {
    agent: Agent,
    url: String,
    headers: Vec<(&'static str, String)>,
    timeout: Duration,
}

impl Client {
    pub(super) fn new(server: &Pyroscope) -> Self {
        let mut headers = vec![
            ("Content-Type", "application/proto".to_owned()),
            ("Content-Encoding", "gzip".to_owned()),
            ("Connect-Protocol-Version", "1".to_owned()),
        ];
        if let Some(tenant) = &server.tenant_id {
            headers.push(("X-Scope-OrgID", tenant.clone()));
        }
        if let Some(BasicAuth { user, password }) = &server.basic_auth {
            let secret = BASE64_STANDARD.encode(format!("{user}:{password}"));
            headers.push(("Authorization", format!("Basic {secret}")));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            // A redirected POST becomes a GET: say so instead of following.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(USER_AGENT)
            .build();
        Self {
            agent: config.into(),
            url: format!("{}{PATH}", server.url.trim_end_matches('/')),
            headers,
            timeout: server.timeout,
        }
    }

    /// Pushes a body; takes `most` at the longest, or the server's time-out.
    pub(super) fn push(&self, body: &[u8], most: Duration) -> Outcome {
        let timeout = self.timeout.min(most);
        let mut request = self.agent.post(&self.url);
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.config().timeout_global(Some(timeout)).build();
        match request.send(body) {
            Ok(response) => answer(response),
            Err(error) => failure(&error),
        }
    }
}

fn answer(mut response: ureq::http::Response<ureq::Body>) -> Outcome {
    let status = response.status().as_u16();
    let header = |name: &str| {
        let value = response.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let (retry_after, content_type) = (header("Retry-After"), header("Content-Type"));
    if status == 200 && content_type.is_some_and(|it| it.starts_with("text/html")) {
        let reason = "the answer is a web page: this is no Pyroscope".to_owned();
        return Outcome::Refused { reason };
    }
    // The status is the answer; its words are for the log.
    let body = response.body_mut().with_config().limit(4_096);
    let words = if status == 200 {
        String::new()
    } else {
        body.lossy_utf8(true).read_to_string().unwrap_or_default()
    };
    classify(status, retry_after.as_deref(), &words)
}

fn failure(error: &ureq::Error) -> Outcome {
    use ureq::Timeout::{Connect, Resolve};
    let reason = error.to_string();
    match error {
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::ConnectProxyFailed(_)
        | ureq::Error::Tls(_)
        | ureq::Error::Timeout(Connect | Resolve) => Outcome::Later {
            after: None,
            reason,
        },
        ureq::Error::Io(io) if io.kind() == io::ErrorKind::ConnectionRefused => Outcome::Later {
            after: None,
            reason,
        },
        // Header values, such as a tenant, that HTTP cannot carry: no later try will differ.
        ureq::Error::Http(_) | ureq::Error::BadUri(_) => Outcome::Refused { reason },
        _ => Outcome::Unknown { reason },
    }
}

#[cfg(test)]
mod tests {
    use super::{BasicAuth, Pyroscope};

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
        let auth = BasicAuth {
            user: "me".to_owned(),
            password: "secret".to_owned(),
        };
        assert!(!format!("{auth:?}").contains("secret"));
    }
}

//! The HTTP client: one for all requests, made anew when a certificate changes.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use reqwest::{
    Body, Client, Response, Url,
    header::{
        AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
    },
    redirect,
};
use rustls::AlertDescription;

use super::{
    Credentials, Settings, Tls, proxy,
    secrets::{self, Files},
    tls::{self, Roots},
    watched::Watched,
};
use crate::{
    export::{
        Error,
        retry::{Answer, retry_after},
    },
    time::{BootNanos, UnixNanos},
};

const USER_AGENT: &str = concat!("spanprof/", env!("CARGO_PKG_VERSION"));
/// How often the files are checked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long an unused connection is kept: longer than any window. Servers close theirs after two minutes or so.
const IDLE: Duration = Duration::from_mins(10);
/// How long to wait for the body of an answer.
const WAIT_FOR_WORDS: Duration = Duration::from_secs(1);
/// Bytes of an answer that are read.
const MOST_WORDS: usize = 4_096;

/// What came of a request.
#[derive(Debug)]
pub enum Delivery {
    /// The server has answered.
    Answered(Answer),
    /// No byte of the body has left: the server has nothing.
    NotSent(String),
    /// The body, or a part of it, has left, and no answer has come.
    Lost(String),
}

/// A client for one server.
pub struct Transport {
    url: Url,
    settings: Settings,
    current: Mutex<Current>,
}

struct Current {
    client: Client,
    headers: HeaderMap,
    certificates: Files,
    secrets: Files,
    looked: BootNanos,
}

impl fmt::Debug for Transport {
    /// Without the header fields, which hold secrets.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Transport({})", self.url)
    }
}

impl Transport {
    /// Reads certificates, secrets and the environment's proxies.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let url = Url::parse(&settings.url).map_err(|_unparsable| Error::Url {
            url: settings.url.clone(),
            reason: "it cannot be read",
        })?;
        let certificates = Files::new(certificate_files(&settings));
        let secrets = Files::new(secret_files(&settings));
        let current = Current {
            client: client(&settings, url.scheme() == "https")?,
            headers: headers(&settings)?,
            certificates,
            secrets,
            looked: BootNanos::now(),
        };
        Ok(Self {
            url,
            settings,
            current: Mutex::new(current),
        })
    }

    /// Posts a body and waits for the answer, for `most` or the set time at the longest.
    pub async fn post(&self, body: Bytes, most: Duration) -> Delivery {
        let (client, headers) = self.current();
        let (body, taken) = Watched::new(body);
        let request = client
            .post(self.url.clone())
            .headers(headers)
            .timeout(self.settings.timeout.min(most))
            .body(Body::wrap(body));
        match request.send().await {
            Ok(response) => Delivery::Answered(answer(response).await),
            Err(error) => failure(error, &taken),
        }
    }

    /// The client and header fields for the files' current contents. If a file cannot be read, they stay as they were.
    fn current(&self) -> (Client, HeaderMap) {
        // A panic elsewhere leaves it consistent: each change is an assignment.
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = BootNanos::now();
        if now.since(current.looked) >= LOOK_EVERY {
            current.looked = now;
            if current.certificates.have_changed() {
                match client(&self.settings, self.url.scheme() == "https") {
                    Ok(client) => current.client = client,
                    Err(error) => keep_old("certificates", &error),
                }
            }
            if current.secrets.have_changed() {
                match headers(&self.settings) {
                    Ok(headers) => current.headers = headers,
                    Err(error) => keep_old("password or token", &error),
                }
            }
        }
        (current.client.clone(), current.headers.clone())
    }
}

fn keep_old(what: &str, error: &Error) {
    tracing::warn!(
        "the {what} changed and cannot be used, those from before are: {}",
        chain(error)
    );
}

fn certificate_files(settings: &Settings) -> Vec<PathBuf> {
    let client = settings.tls.client.iter();
    let client = client.flat_map(|files| [files.certificate.clone(), files.key.clone()]);
    settings.tls.ca_file.iter().cloned().chain(client).collect()
}

fn secret_files(settings: &Settings) -> Option<PathBuf> {
    match settings.credentials.as_ref()? {
        Credentials::Basic { password_file, .. } => Some(password_file.clone()),
        Credentials::Bearer { token_file } => Some(token_file.clone()),
    }
}

/// A client like that of a [`Transport`], for requests of another kind.
pub fn plain_client(tls: &Tls, timeout: Duration) -> Result<Client, Error> {
    let settings = Settings {
        url: String::new(),
        headers: Vec::new(),
        credentials: None,
        tls: tls.clone(),
        timeout,
        connections: 1,
    };
    client(&settings, false)
}

fn client(settings: &Settings, says_roots: bool) -> Result<Client, Error> {
    let (config, roots) = tls::config(&settings.tls)?;
    if says_roots {
        match roots {
            Roots::File(number) => {
                tracing::info!(number, "trusts the certificates of the given file");
            }
            Roots::System(number) => {
                tracing::info!(number, "trusts the system's certificates");
            }
            Roots::Bundled(number) => tracing::warn!(
                number,
                "the system has no certificates: trusts the list of Mozilla's that comes with spanprof"
            ),
        }
    }
    let mut builder = Client::builder()
        .tls_backend_preconfigured(config)
        .http1_only()
        .user_agent(USER_AGENT)
        // A redirected POST becomes a GET: say so instead of following.
        .redirect(redirect::Policy::none())
        .connect_timeout(settings.timeout.div_f64(2.0))
        .pool_max_idle_per_host(settings.connections)
        .pool_idle_timeout(IDLE)
        // The agent reads the environment itself.
        .no_proxy();
    for proxy in proxy::proxies(|name| std::env::var(name).ok())? {
        builder = builder.proxy(proxy);
    }
    builder
        .build()
        .map_err(|error| Error::Client(chain(&error)))
}

fn headers(settings: &Settings) -> Result<HeaderMap, Error> {
    let mut headers = HeaderMap::new();
    for (name, value) in &settings.headers {
        let unusable = Error::Header { what: name };
        let value = HeaderValue::from_str(value).map_err(|_invalid| unusable)?;
        headers.insert(HeaderName::from_static(name), value);
    }
    let value = match &settings.credentials {
        None => return Ok(headers),
        Some(Credentials::Basic {
            user,
            password_file,
        }) => {
            let password = secrets::secret(password_file)?;
            let both = BASE64_STANDARD.encode(format!("{user}:{password}"));
            format!("Basic {both}")
        }
        Some(Credentials::Bearer { token_file }) => {
            format!("Bearer {}", secrets::secret(token_file)?)
        }
    };
    let mut value = HeaderValue::from_str(&value).map_err(|_invalid| Error::Header {
        what: "the file with the password or token",
    })?;
    value.set_sensitive(true);
    headers.insert(AUTHORIZATION, value);
    Ok(headers)
}

async fn answer(mut response: Response) -> Answer {
    let header = |name| {
        let value: &HeaderValue = response.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let status = response.status().as_u16();
    let mut answer = Answer {
        status,
        retry_after: header(RETRY_AFTER)
            .and_then(|value| retry_after(&value, UnixNanos::now().0 / 1_000_000_000)),
        location: header(LOCATION).filter(|_| (300..400).contains(&status)),
        is_page: header(CONTENT_TYPE).is_some_and(|kind| is_html(&kind)),
        body: String::new(),
    };
    // The status is the answer; the body is for people. Reading it to its end keeps the connection open.
    let mut words = Vec::new();
    let reading = async {
        while words.len() < MOST_WORDS
            && let Ok(Some(chunk)) = response.chunk().await
        {
            words.extend_from_slice(&chunk);
        }
    };
    // The bytes that have come by then are enough.
    let _ = tokio::time::timeout(WAIT_FOR_WORDS, reading).await;
    words.truncate(MOST_WORDS);
    if status != 200 {
        answer.body = String::from_utf8_lossy(&words).into_owned();
    }
    answer
}

fn is_html(kind: &str) -> bool {
    const HTML: &str = "text/html";
    let head = kind.as_bytes().get(..HTML.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(HTML.as_bytes()))
}

fn failure(error: reqwest::Error, taken: &AtomicBool) -> Delivery {
    let error = error.without_url();
    // The address is in the log line already, and may be long.
    let reason = if error.is_connect() {
        format!("cannot connect: {}", why(&error))
    } else if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        why(&error)
    };
    if taken.load(Ordering::Relaxed) && !is_refused(&error) {
        Delivery::Lost(reason)
    } else {
        Delivery::NotSent(reason)
    }
}

/// Whether the server does not accept our certificate. From TLS 1.3 on it says so only after the client has begun to
/// send, and it reads nothing of that.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        let tls = match inner {
            Some(inner) => inner.downcast_ref(),
            None => error.downcast_ref(),
        };
        if let Some(rustls::Error::AlertReceived(alert)) = tls {
            return CERTIFICATE_ALERTS.contains(alert);
        }
        cause = error.source();
    }
    false
}

/// Alerts about a client's certificate (RFC 8446, 6.2).
const CERTIFICATE_ALERTS: [AlertDescription; 8] = [
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
    AlertDescription::AccessDenied,
    AlertDescription::CertificateRequired,
];

/// Why a request has failed. The first two errors are left out: they say that it has, and in which part of the client.
fn why(error: &reqwest::Error) -> String {
    let error: &dyn std::error::Error = error;
    let cause = error.source().and_then(std::error::Error::source);
    chain(cause.unwrap_or(error))
}

/// An error with all its causes: a library's outermost error often says only that something went wrong.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, time::Duration};

    use super::{Delivery, Settings, Transport, is_html};
    use crate::{export::transport::Tls, runtime};

    /// The error about a server that is not there says so, and names no part of the client.
    #[test]
    fn no_server_listens() {
        let runtime = runtime::start().unwrap();
        let _inside = runtime.enter();
        let port = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", port.local_addr().unwrap());
        drop(port);
        let transport = Transport::new(Settings {
            url,
            headers: Vec::new(),
            credentials: None,
            tls: Tls::default(),
            timeout: Duration::from_secs(10),
            connections: 1,
        });
        let transport = transport.unwrap();
        let delivery = runtime.block_on(transport.post("x".into(), Duration::MAX));
        let Delivery::NotSent(reason) = delivery else {
            panic!("{delivery:?}");
        };
        let expected = "cannot connect: tcp connect error: Connection refused (os error 111)";
        assert_eq!(reason, expected);
    }

    /// Media types are the same in capitals, and may have parameters.
    #[test]
    fn pages() {
        assert!(is_html("text/html") && is_html("Text/HTML; charset=utf-8"));
        assert!(!is_html("application/proto") && !is_html("text") && !is_html(""));
    }
}

//! The HTTP client: one for all requests, made anew when a certificate changes.

use std::{
    fmt,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use reqwest::{
    Body, Client, Url,
    header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue},
    redirect,
};

use super::{
    Credentials, Settings, Tls,
    delivery::{Delivery, answer, chain, failure},
    proxy,
    secrets::{self, Files},
    tls::{self, Roots},
    watched::Watched,
};
use crate::{export::Error, time::BootNanos};

const USER_AGENT: &str = concat!("spanprof/", env!("CARGO_PKG_VERSION"));
/// How often the files are checked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long an unused connection is kept: longer than any window. Servers close theirs after two minutes or so.
const IDLE: Duration = Duration::from_mins(10);

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

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, time::Duration};

    use super::{Delivery, Settings, Transport};
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
}

//! Metrics to a server that speaks OTLP over HTTP.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{MetricExporter, Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::metrics::PeriodicReader;
use reqwest::Client;
use tokio::runtime::Handle;

use super::Error;
use crate::{
    export::{Tls, transport},
    rights::{Thread, keep_for},
};

/// What is appended to the address of a server, as to `OTEL_EXPORTER_OTLP_ENDPOINT`.
const PATH: &str = "/v1/metrics";
/// How long a request may take, if `OTEL_EXPORTER_OTLP_TIMEOUT` does not say it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read.
const MOST_ANSWER: usize = 64 * 1024;

/// Where metrics are pushed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Otlp {
    /// Address of the server; `None`: that of the variables `OTEL_EXPORTER_OTLP_…`.
    pub endpoint: Option<String>,
}

impl Otlp {
    /// By flag or file, else by the usual variables; `None` if no metrics are wanted.
    pub fn wanted(
        endpoint: Option<String>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Option<Self> {
        let is = |name, value: &str| {
            variable(name).is_some_and(|it| it.trim().eq_ignore_ascii_case(value))
        };
        if endpoint.is_some() {
            return Some(Self { endpoint });
        }
        if is("OTEL_SDK_DISABLED", "true") || is("OTEL_METRICS_EXPORTER", "none") {
            return None;
        }
        [
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
        ]
        .into_iter()
        .any(|name| variable(name).is_some_and(|it| !it.trim().is_empty()))
        .then_some(Self { endpoint: None })
    }
}

/// Pushes every minute, or as often as `OTEL_METRIC_EXPORT_INTERVAL` says.
pub(super) fn reader(
    otlp: &Otlp,
    runtime: &Handle,
) -> Result<PeriodicReader<MetricExporter>, Error> {
    let failed = |error: &dyn fmt::Display| Error::Otlp(error.to_string());
    let tls = certificates();
    let timeout = timeout(|name| std::env::var(name).ok());
    let client = {
        // The client's timers are the runtime's.
        let _inside = runtime.enter();
        transport::plain_client(&tls, timeout).map_err(|error| failed(&error))?
    };
    let client = OnRuntime {
        client,
        runtime: runtime.clone(),
        timeout,
        is_failing: AtomicBool::new(false),
    };
    let mut exporter = MetricExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary);
    if let Some(endpoint) = &otlp.endpoint {
        exporter = exporter.with_endpoint(address(endpoint));
    }
    let exporter = exporter.build().map_err(|error| failed(&error))?;
    // The library's thread has what the thread has that makes it.
    let made = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            keep_for(Thread::Waiting);
            PeriodicReader::builder(exporter).build()
        });
        reader.join()
    });
    made.map_err(|_panic| Error::Otlp("the thread that pushes did not start".to_owned()))
}

/// The certificates to trust, by the usual variables.
fn certificates() -> Tls {
    let ca_file = [
        "OTEL_EXPORTER_OTLP_METRICS_CERTIFICATE",
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
    ]
    .into_iter()
    .find_map(std::env::var_os);
    Tls {
        ca_file: ca_file.map(Into::into),
        client: None,
    }
}

/// The address that is posted to.
fn address(endpoint: &str) -> String {
    let endpoint = endpoint.trim_end_matches('/');
    if endpoint.ends_with(PATH) {
        return endpoint.to_owned();
    }
    format!("{endpoint}{PATH}")
}

/// Sends on the runtime what comes from a thread outside of it.
#[derive(Debug)]
struct OnRuntime {
    client: Client,
    runtime: Handle,
    /// How long a request may take.
    timeout: Duration,
    /// Whether the last push failed: only a change is told.
    is_failing: AtomicBool,
}

impl OnRuntime {
    fn tell(&self, failure: Option<&str>) {
        let was_failing = self.is_failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(reason) if !was_failing => {
                tracing::warn!("the agent's own metrics cannot be pushed: {reason}");
            }
            None if was_failing => tracing::info!("the agent's own metrics are pushed again"),
            _ => {}
        }
    }
}

#[async_trait::async_trait]
impl HttpClient for OnRuntime {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (client, timeout) = (self.client.clone(), self.timeout);
        let sent = self
            .runtime
            .spawn(async move { send(&client, timeout, request).await });
        let answer = match sent.await {
            Ok(answer) => answer,
            Err(error) => Err(error.into()),
        };
        match &answer {
            Ok(answer) if answer.status().is_success() => self.tell(None),
            Ok(answer) => self.tell(Some(&format!("the server answers {}", answer.status()))),
            Err(error) => self.tell(Some(&transport::chain(error.as_ref()))),
        }
        answer
    }
}

/// How long a request may take, by the usual variables, in milliseconds.
fn timeout(variable: impl Fn(&str) -> Option<String>) -> Duration {
    let names = [
        "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
        "OTEL_EXPORTER_OTLP_TIMEOUT",
    ];
    let told = names.into_iter().find_map(variable);
    let milliseconds = told.and_then(|it| it.trim().parse().ok());
    milliseconds.map_or(TIMEOUT, Duration::from_millis)
}

async fn send(
    client: &Client,
    timeout: Duration,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let (head, body) = request.into_parts();
    let mut response = client
        .request(head.method, head.uri.to_string())
        .headers(head.headers)
        .timeout(timeout)
        .body(body)
        .send()
        .await?;
    let mut answer = Response::builder().status(response.status());
    if let Some(headers) = answer.headers_mut() {
        *headers = std::mem::take(response.headers_mut());
    }
    let mut words = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if words.len() + chunk.len() > MOST_ANSWER {
            break;
        }
        words.extend_from_slice(&chunk);
    }
    Ok(answer.body(words.into())?)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Otlp, TIMEOUT, address, timeout};

    /// The variable of metrics goes before that of all; what is no number is nothing.
    #[test]
    fn timeouts() {
        let one = |name: &'static str, value: &'static str| {
            move |asked: &str| (asked == name).then(|| value.to_owned())
        };
        let of = |name, value| timeout(one(name, value));
        assert_eq!(timeout(|_| None), TIMEOUT);
        let name = "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT";
        assert_eq!(of(name, "1500"), Duration::from_millis(1500));
        assert_eq!(
            of("OTEL_EXPORTER_OTLP_TIMEOUT", "30000"),
            Duration::from_secs(30)
        );
        assert_eq!(of("OTEL_EXPORTER_OTLP_TIMEOUT", "soon"), TIMEOUT);
    }

    /// The address of a server, with or without the path.
    #[test]
    fn addresses() {
        for endpoint in [
            "http://a:4318",
            "http://a:4318/",
            "http://a:4318/v1/metrics",
        ] {
            assert_eq!(address(endpoint), "http://a:4318/v1/metrics");
        }
        assert_eq!(address("https://a/otlp"), "https://a/otlp/v1/metrics");
    }

    /// Metrics are pushed by the flag, or by one of the usual variables unless another says no.
    #[test]
    fn wanted() {
        const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a");
        let variables = |set: &'static [(&str, &str)]| {
            move |name: &str| {
                let found = set.iter().find(|(it, _)| *it == name);
                found.map(|(_, value)| (*value).to_owned())
            }
        };
        assert_eq!(Otlp::wanted(None, variables(&[])), None);
        assert!(Otlp::wanted(Some("http://b".to_owned()), variables(&[])).is_some());
        assert!(Otlp::wanted(None, variables(&[ENDPOINT])).is_some());
        for no in [
            &[ENDPOINT, ("OTEL_SDK_DISABLED", "true")],
            &[ENDPOINT, ("OTEL_METRICS_EXPORTER", "none")],
        ] {
            assert_eq!(Otlp::wanted(None, variables(no)), None);
        }
    }
}

//! The stand-in for Tempo in the tests: it takes what a Collector sends (OTLP over HTTP, in JSON) and
//! remembers the spans, with the attributes that Grafana makes its link from.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
};

use serde::Deserialize;

use crate::{
    listen::{Port, lock},
    pretend_pyroscope::{
        Refusal,
        connect::gunzip,
        http::{self, Request, Response},
    },
};

/// A span as it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// 32 hex digits.
    pub trace_id: String,
    /// 16 hex digits.
    pub span_id: String,
    /// That of its parent; empty if it has none.
    pub parent_span_id: String,
    /// Its name.
    pub name: String,
    /// Nanoseconds since 1970.
    pub start: i64,
    /// Nanoseconds since 1970.
    pub end: i64,
    /// Attributes of its resource, and its own above them. Those that are no text are left out.
    pub attributes: BTreeMap<String, String>,
}

/// A running server; its port is closed when it is dropped.
pub struct PretendTempo {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    _port: Port,
}

impl PretendTempo {
    /// Starts on a free port of the loopback.
    #[expect(
        clippy::expect_used,
        clippy::missing_panics_doc,
        reason = "a test cannot go on without it"
    )]
    pub fn start() -> Self {
        let spans = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&spans);
        let serve = move |stream: TcpStream| {
            http::serve(stream, |request: &Request| take(request, &shared));
        };
        let port = Port::open(Arc::new(serve)).expect("a free port");
        Self {
            address: port.address,
            spans,
            _port: port,
        }
    }

    /// Its address, for the exporter of a Collector.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All spans that came in, in that order.
    pub fn spans(&self) -> Vec<Span> {
        lock(&self.spans).clone()
    }
}

fn take(request: &Request, spans: &Mutex<Vec<Span>>) -> Response {
    if (request.method.as_str(), request.path()) != ("POST", "/v1/traces") {
        return Response::text(404, "there is nothing but POST /v1/traces");
    }
    let Ok(body) = decoded(request) else {
        return Response::text(400, "the body is no gzip");
    };
    match serde_json::from_slice::<Export>(&body) {
        Ok(export) => {
            lock(spans).extend(export.spans());
            Response::json(200, &serde_json::json!({}))
        }
        Err(error) => Response::text(400, &format!("no OTLP in JSON: {error}")),
    }
}

/// A body as it was before it was compressed.
fn decoded(request: &Request) -> Result<Vec<u8>, Refusal> {
    if request.header("content-encoding") == "gzip" {
        gunzip(&request.body)
    } else {
        Ok(request.body.clone())
    }
}

/// `ExportTraceServiceRequest` of OTLP, in its JSON: as much as is used.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Export {
    #[serde(default)]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceSpans {
    #[serde(default)]
    resource: Attributes,
    #[serde(default)]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Deserialize)]
struct ScopeSpans {
    #[serde(default)]
    spans: Vec<JsonSpan>,
}

#[derive(Clone, Default, Deserialize)]
struct Attributes {
    #[serde(default)]
    attributes: Vec<Attribute>,
}

#[derive(Clone, Deserialize)]
struct Attribute {
    key: String,
    #[serde(default)]
    value: Value,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Value {
    string_value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct JsonSpan {
    trace_id: String,
    span_id: String,
    #[serde(default)]
    parent_span_id: String,
    name: String,
    start_time_unix_nano: String,
    end_time_unix_nano: String,
    #[serde(flatten)]
    own: Attributes,
}

impl Attributes {
    fn texts(&self) -> impl Iterator<Item = (String, String)> {
        let attributes = self.attributes.iter();
        attributes.filter_map(|it| Some((it.key.clone(), it.value.string_value.clone()?)))
    }
}

impl Export {
    fn spans(self) -> Vec<Span> {
        let mut all = Vec::new();
        for of_resource in self.resource_spans {
            let spans = of_resource.scope_spans.into_iter().flat_map(|it| it.spans);
            all.extend(spans.map(|span| {
                Span {
                    attributes: of_resource
                        .resource
                        .texts()
                        .chain(span.own.texts())
                        .collect(),
                    start: span.start_time_unix_nano.parse().unwrap_or_default(),
                    end: span.end_time_unix_nano.parse().unwrap_or_default(),
                    trace_id: span.trace_id,
                    span_id: span.span_id,
                    parent_span_id: span.parent_span_id,
                    name: span.name,
                }
            }));
        }
        all
    }
}

//! The listener: few and small requests, each answered and then closed.

use std::{
    collections::VecDeque,
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::Incoming,
    header::{ALLOW, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::TextEncoder;
use tokio::{
    net,
    runtime::Handle,
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};

use super::state::{self, State};

/// Connections at a time. One more closes the oldest, so a client that only keeps connections open does not keep others
/// from being answered.
const CONNECTIONS: usize = 64;
/// Connections of one address at a time, likewise.
const CONNECTIONS_OF_PEER: usize = 8;
/// Bytes of a request's head: as few as the library allows.
const REQUEST_BYTES: usize = 8 * 1024;
/// Header fields of a request.
const REQUEST_FIELDS: usize = 64;
/// How long a request may take to come in.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// How long a connection may take in all.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// How long is waited if the kernel has no descriptor for a connection.
const AGAIN: Duration = Duration::from_millis(200);

const TEXT: &str = "text/plain; charset=utf-8";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Listens.
pub(super) struct Server {
    /// Where, with the port that the kernel chose if none was asked for.
    pub(super) address: SocketAddr,
    listener: net::TcpListener,
    state: Arc<State>,
}

impl Server {
    /// Takes the address: from now on connections wait.
    pub(super) fn bind(
        address: SocketAddr,
        state: Arc<State>,
        runtime: &Handle,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let _inside = runtime.enter();
        Ok(Self {
            address,
            listener: net::TcpListener::from_std(listener)?,
            state,
        })
    }

    /// Answers until it is dropped.
    pub(super) async fn run(self) {
        let mut open = Open::default();
        loop {
            let Ok((stream, peer)) = self.listener.accept().await else {
                sleep(AGAIN).await;
                continue;
            };
            let state = Arc::clone(&self.state);
            let connection = tokio::spawn(async move {
                let service = service_fn(|request| answer(request, peer, Arc::clone(&state)));
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(REQUEST_TIME)
                    .max_buf_size(REQUEST_BYTES)
                    .max_headers(REQUEST_FIELDS)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                // A client that sends nonsense gets no more answers; a slow one is dropped.
                let _ = timeout(CONNECTION_TIME, connection).await;
            });
            open.add(peer.ip(), connection);
        }
    }
}

/// The connections that are open, the oldest first.
#[derive(Default)]
struct Open(VecDeque<(IpAddr, JoinHandle<()>)>);

impl Open {
    /// Adds one, and closes the oldest if there are too many: of its address, or of all.
    fn add(&mut self, peer: IpAddr, connection: JoinHandle<()>) {
        self.0.retain(|(_, connection)| !connection.is_finished());
        let of_peer = self.0.iter().filter(|(its, _)| *its == peer).count();
        let oldest = if of_peer >= CONNECTIONS_OF_PEER {
            self.0.iter().position(|(its, _)| *its == peer)
        } else {
            (self.0.len() >= CONNECTIONS).then_some(0)
        };
        if let Some((_, oldest)) = oldest.and_then(|oldest| self.0.remove(oldest)) {
            oldest.abort();
        }
        self.0.push_back((peer, connection));
    }
}

async fn answer(
    request: Request<Incoming>,
    peer: SocketAddr,
    state: Arc<State>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut answer = if is_read {
        page(request.uri().path(), peer, state).await
    } else {
        let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        let allowed = HeaderValue::from_static("GET, HEAD");
        answer.headers_mut().insert(ALLOW, allowed);
        answer
    };
    let nosniff = HeaderValue::from_static("nosniff");
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, nosniff);
    Ok(answer)
}

async fn page(path: &str, peer: SocketAddr, state: Arc<State>) -> Response<Full<Bytes>> {
    // The table in words is for this host only, whatever address the agent listens on; metrics have the numbers.
    let is_local = peer.ip().to_canonical().is_loopback();
    match path {
        "/metrics" => metrics(state).await,
        "/healthz" => verdict(state::is_well(&state.health)),
        "/readyz" => verdict(state::is_ready(&state.health)),
        "/debug/losses" if is_local => text(StatusCode::OK, state.health.table()),
        "/debug/losses" => text(
            StatusCode::FORBIDDEN,
            "from this host only: ask 127.0.0.1\n",
        ),
        _ => text(
            StatusCode::NOT_FOUND,
            "there are /metrics, /healthz, /readyz and /debug/losses\n",
        ),
    }
}

fn verdict(verdict: Result<&'static str, String>) -> Response<Full<Bytes>> {
    match verdict {
        Ok(words) => text(StatusCode::OK, format!("{words}\n")),
        Err(words) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{words}\n")),
    }
}

/// All metrics. They are gathered where others do not wait for it: some ask the kernel.
async fn metrics(state: Arc<State>) -> Response<Full<Bytes>> {
    let gathered =
        spawn_blocking(move || TextEncoder::new().encode_to_string(&state.registry.gather()));
    match gathered.await {
        Ok(Ok(metrics)) => respond(StatusCode::OK, METRICS, metrics),
        Ok(Err(error)) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn text(status: StatusCode, words: impl Into<Bytes>) -> Response<Full<Bytes>> {
    respond(status, TEXT, words)
}

fn respond(
    status: StatusCode,
    kind: &'static str,
    body: impl Into<Bytes>,
) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

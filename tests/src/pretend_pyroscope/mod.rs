//! A pretend Pyroscope: an HTTP server that accepts, refuses and stores pushes and answers queries as the real one
//! does, and misbehaves on request. It follows the real one's observed behaviour and its source:
//! `tests/data/pyroscope.toml` has inputs with the real answers, and `tests/tests/together/pretender` compares them.
//!
//! It has no OTLP (`/v1development/profiles` is 404), because spanprof sends none.

pub(crate) mod connect;
mod flame_graph;
pub(crate) mod http;
mod ingest;
mod json;
mod pprof;
mod push;
mod query;
mod rate;
mod refusal;
mod rules;
mod script;
mod selector;
mod split;
mod store;
mod tenant;

use std::{
    collections::BTreeMap,
    fmt,
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use profiler::{export::pyroscope::proto::PushRequest, time::UnixNanos};

use crate::{
    listen::{Port, lock},
    tls::{Handshake, TlsServer},
};
use http::{Request, Response};
use rate::Rate;
pub use refusal::Refusal;
pub use script::Misbehaviour;
use script::Script;
use store::Store;
pub use store::{Storage, StoredFrame, StoredProfile, StoredSample};

/// A free port of the loopback.
const LOOPBACK: &str = "127.0.0.1:0";

/// A push as it came in.
#[derive(Clone, Debug)]
pub struct Push {
    /// Its header fields, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body, decoded; `None` if it could not be decoded, or is not to be kept.
    pub request: Option<PushRequest>,
}

/// A running server; its port is closed when it is dropped.
pub struct PretendPyroscope {
    port: Mutex<Port>,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    tls: Option<Arc<TlsServer>>,
}

#[derive(Debug, Default)]
struct State {
    pushes: Vec<Push>,
    /// Whether bodies of pushes are discarded.
    forgets_bodies: bool,
    requests: usize,
    refusals: Vec<Refusal>,
    script: Script,
    store: Store,
    unsymbolized: bool,
    rate: Rate,
    /// Whether a request must name its tenant.
    has_tenants: bool,
    /// What the header field `Authorization` must say, as a gateway in front would ask.
    authorization: Option<String>,
    answer_after: Duration,
    version: String,
}

impl PretendPyroscope {
    /// Starts on a free port of the loopback, with the storage that discards more.
    pub fn start() -> Self {
        Self::with(Storage::default())
    }

    /// The same with a storage.
    pub fn with(storage: Storage) -> Self {
        Self::run(LOOPBACK, storage, None)
    }

    /// The same at an address of this host with a port, such as one that containers can reach.
    pub fn at(address: &str, storage: Storage) -> Self {
        Self::run(address, storage, None)
    }

    /// The same over TLS.
    pub fn at_with_tls(address: &str, storage: Storage, tls: Arc<TlsServer>) -> Self {
        Self::run(address, storage, Some(tls))
    }

    /// One on the loopback, over TLS; a test can replace certificates and see handshakes by its `tls`.
    pub fn with_tls(storage: Storage, tls: Arc<TlsServer>) -> Self {
        Self::run(LOOPBACK, storage, Some(tls))
    }

    #[expect(clippy::expect_used, reason = "a test cannot go on without it")]
    fn run(address: &str, storage: Storage, tls: Option<Arc<TlsServer>>) -> Self {
        let state = State {
            store: Store::new(storage),
            ..State::default()
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        let server = tls.clone();
        let serve = move |stream: TcpStream| {
            let answer = |request: &Request| answer(&shared, request);
            match &server {
                None => http::serve(stream, answer),
                Some(tls) => tls.serve(stream, |stream| http::serve(stream, answer)),
            }
        };
        let port = Port::open_at(address, Arc::new(serve)).expect("a free port");
        Self {
            address: port.address,
            port: Mutex::new(port),
            state,
            tls,
        }
    }

    /// Its address, for an exporter.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Refuses requests that name no tenant, as a server with `auth.multitenancy-enabled` does.
    pub fn require_tenants(&self) {
        lock(&self.state).has_tenants = true;
    }

    /// From now on answers 401 to pushes with another header field `Authorization`, as a gateway in front of
    /// it would.
    pub fn require_authorization(&self, value: &str) {
        lock(&self.state).authorization = Some(value.to_owned());
    }

    /// Limits the bytes per second from now on, and not only those at once.
    pub fn limit_rate(&self) {
        lock(&self.state).rate.limit();
    }

    /// Answers each push that long after it came, from now on, and stores it then: v2 does so when a segment
    /// is written, which takes up to half a second. Pushes side by side wait side by side.
    pub fn answer_after(&self, time: Duration) {
        lock(&self.state).answer_after = time;
    }

    /// Closes connections, from the next one on, that are silent for this long. The real server: two minutes.
    pub fn close_idle_after(&self, time: Duration) {
        lock(&lock(&self.port).connections).idle = time;
    }

    /// Misbehaves on the next pushes, one each.
    pub fn script(&self, misbehaviours: impl IntoIterator<Item = Misbehaviour>) {
        lock(&self.state).script.next.extend(misbehaviours);
    }

    /// Answers each push that has a series of a service with a status, such as 400, 429 or 500, until
    /// [`Self::take_service`]. As the real server does, it stores the other series of that push.
    pub fn refuse_service(&self, service: &str, status: u16) {
        let services = &mut lock(&self.state).script.services;
        services.insert(service.to_owned(), status);
    }

    /// Takes series of a service again.
    pub fn take_service(&self, service: &str) {
        lock(&self.state).script.services.remove(service);
    }

    /// Answers each push with 500, as a server that is shutting down; or answers normally again.
    pub fn stopping(&self, is_stopping: bool) {
        lock(&self.state).script.is_stopping = is_stopping;
    }

    /// Ends all connections and accepts no more, as if the server were down; what it has stored stays.
    pub fn shut(&self) {
        lock(&self.port).shut();
    }

    /// Takes connections again, at the same address.
    ///
    /// # Panics
    /// If another process has taken the port.
    #[expect(clippy::expect_used, reason = "a test cannot go on without it")]
    pub fn reopen(&self) {
        lock(&self.port).reopen().expect("its port");
    }

    /// Reports a version from now on. It reports none at first, as some real servers do.
    pub fn version(&self, version: &str) {
        version.clone_into(&mut lock(&self.state).version);
    }

    /// Throws bodies of pushes away from now on, for tests with very many.
    pub fn forget_bodies(&self) {
        lock(&self.state).forgets_bodies = true;
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        lock(&lock(&self.port).connections).accepted
    }

    /// The most connections that were open at a time.
    pub fn most_connections(&self) -> usize {
        lock(&lock(&self.port).connections).most_open
    }

    /// TLS handshakes that succeeded.
    pub fn handshakes(&self) -> Vec<Handshake> {
        self.tls
            .as_ref()
            .map_or_else(Vec::new, |it| it.handshakes())
    }

    /// HTTP requests of any kind so far.
    pub fn requests(&self) -> usize {
        lock(&self.state).requests
    }

    /// Every push that came in, refused ones too.
    pub fn pushes(&self) -> Vec<Push> {
        lock(&self.state).pushes.clone()
    }

    /// Every refusal by rule or service.
    pub fn refusals(&self) -> Vec<Refusal> {
        lock(&self.state).refusals.clone()
    }

    /// Every profile that a query sees now, split by labels and types as the real server does.
    pub fn profiles(&self) -> Vec<StoredProfile> {
        lock(&self.state).store.profiles().cloned().collect()
    }

    /// What `look` makes of every profile that a query sees now: for when there are too many to copy.
    pub fn look_at<T>(&self, look: impl FnMut(&StoredProfile) -> T) -> Vec<T> {
        lock(&self.state).store.profiles().map(look).collect()
    }

    /// Every profile that is left once all is compacted.
    pub fn kept(&self) -> Vec<StoredProfile> {
        lock(&self.state).store.kept().cloned().collect()
    }

    /// Samples that are left once all is compacted.
    pub fn kept_samples(&self) -> usize {
        lock(&self.state)
            .store
            .kept()
            .map(|it| it.samples.len())
            .sum()
    }

    /// CPU of a service that is left once all is compacted, in nanoseconds.
    pub fn kept_total(&self, service: &str) -> i64 {
        Store::cpu(lock(&self.state).store.kept(), service)
    }

    /// All CPU that a query finds for a service now, in nanoseconds.
    pub fn total(&self, service: &str) -> i64 {
        Store::cpu(lock(&self.state).store.profiles(), service)
    }

    /// When each profile of a service was stored, with the profile's time in nanoseconds since 1970.
    pub fn arrivals(&self, service: &str) -> Vec<(i64, UnixNanos)> {
        let state = lock(&self.state);
        let profiles = state.store.profiles();
        profiles
            .filter(|it| it.label("service_name") == Some(service))
            .filter_map(|it| Some((it.time_nanos, it.stored_at?)))
            .collect()
    }

    /// Compacts what is stored, as v2 does after a while: of profiles of one series and time it keeps one.
    pub fn compact(&self) {
        lock(&self.state).store.compact();
    }

    /// Whether any location had no symbols: the real server may then drop the span selector.
    pub fn unsymbolized(&self) -> bool {
        lock(&self.state).unsymbolized
    }

    /// CPU of these spans of a service by function (self time), in nanoseconds.
    pub fn select_merge_span_profile(
        &self,
        service: &str,
        spans: &[&str],
    ) -> BTreeMap<String, i64> {
        let state = lock(&self.state);
        let profiles = state.store.profiles();
        let of_service = profiles.filter(|it| it.label("service_name") == Some(service));
        let mut functions = BTreeMap::new();
        for sample in of_service.flat_map(|it| &it.samples) {
            let span = sample.span_id.as_deref();
            if span.is_some_and(|span| spans.iter().any(|it| it.eq_ignore_ascii_case(span))) {
                let leaf = sample.stack.first().cloned().unwrap_or_default();
                *functions.entry(leaf).or_default() += sample.value;
            }
        }
        functions
    }
}

impl fmt::Debug for PretendPyroscope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.state);
        formatter
            .debug_struct("PretendPyroscope")
            .field("address", &self.address)
            .field("pushes", &state.pushes.len())
            .field("refusals", &state.refusals)
            .finish_non_exhaustive()
    }
}

fn answer(state: &Mutex<State>, request: &Request) -> Response {
    lock(state).requests += 1;
    // A path that is not clean is redirected to the clean one; the client follows with GET.
    let is_clean = !request.path().contains("//");
    let path = request.path().replace("//", "/");
    if let Some(call) = path.strip_prefix(query::SERVICE) {
        return query::answer(state, request, call);
    }
    match (request.method.as_str(), path.as_str()) {
        (_, "/push.v1.PusherService/Push") if !is_clean => {
            Response::empty(405).with_header("Allow", "POST")
        }
        (_, "/push.v1.PusherService/Push") => push::push(state, request),
        ("POST", "/ingest" | "/pyroscope/ingest") => ingest::ingest(state, request),
        (_, "/ingest" | "/pyroscope/ingest") => Response::empty(405),
        ("GET", "/ready") => Response::text(200, "ready"),
        ("GET", "/api/v1/status/buildinfo") => {
            let version = lock(state).version.clone();
            let body = serde_json::json!({"status": "success", "data": {"version": version}});
            Response::json(200, &body)
        }
        _ => Response::text(404, "404 page not found"),
    }
}

//! A pretend Pyroscope: an HTTP server that takes and refuses pushes by the rules of the real one
//! (grafana/pyroscope 2.2, read in its source), stores samples the way it does, and misbehaves on
//! request.

mod http;
mod query;
mod rate;
mod rules;
mod store;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use profiler::export::proto::PushRequest;

use http::{Request, Response};
use rate::Rate;
pub use rules::Refusal;
pub use store::{Storage, StoredProfile, StoredSample};

/// What the server does with a push instead of its duty.
#[derive(Clone, Debug)]
pub enum Misbehaviour {
    /// Answers with a status and does not store.
    Status(u16),
    /// Answers 429 with `Retry-After` in seconds and does not store.
    RetryAfter(u64),
    /// Answers bytes that are no HTTP.
    Garbage,
    /// Answers nothing for so long, then closes.
    Hang(Duration),
    /// Closes at once.
    Close,
    /// Stores, and closes without an answer.
    StoreAndClose,
}

/// A push as it came in.
#[derive(Clone, Debug)]
pub struct Push {
    /// Its header fields, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Its body, decoded; `None` where it could not be.
    pub request: Option<PushRequest>,
}

/// A running server; it stops taking pushes when dropped.
#[derive(Debug)]
pub struct PretendPyroscope {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    pushes: Vec<Push>,
    refusals: Vec<Refusal>,
    script: VecDeque<Misbehaviour>,
    profiles: Vec<StoredProfile>,
    storage: Storage,
    unsymbolized: bool,
    rate: Rate,
    /// Whether a push must say whose it is.
    has_tenants: bool,
}

impl PretendPyroscope {
    /// Starts on a free port of the loopback, with the storage that throws more away.
    pub fn start() -> Self {
        Self::with(Storage::default())
    }

    /// The same with a storage.
    ///
    /// # Panics
    /// If no port is to be had.
    #[expect(clippy::expect_used, reason = "a test cannot go on without it")]
    pub fn with(storage: Storage) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("its own address");
        let state = State {
            storage,
            ..State::default()
        };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || http::serve(stream, |request| answer(&shared, request)));
            }
        });
        Self { address, state }
    }

    /// Refuses pushes that name no tenant, as a server with `auth.multitenancy-enabled` does.
    pub fn require_tenants(&self) {
        lock(&self.state).has_tenants = true;
    }

    /// Takes so many bytes a second from now on, and not only so many at once.
    pub fn limit_rate(&self) {
        lock(&self.state).rate.limit();
    }

    /// Its address, for an exporter.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Misbehaves on the next pushes, one each.
    pub fn script(&self, misbehaviours: impl IntoIterator<Item = Misbehaviour>) {
        lock(&self.state).script.extend(misbehaviours);
    }

    /// Every push that came in, refused ones too.
    pub fn pushes(&self) -> Vec<Push> {
        lock(&self.state).pushes.clone()
    }

    /// Every refusal by rule, not by script.
    pub fn refusals(&self) -> Vec<Refusal> {
        lock(&self.state).refusals.clone()
    }

    /// Every profile stored, split by labels as the real server does.
    pub fn profiles(&self) -> Vec<StoredProfile> {
        lock(&self.state).profiles.clone()
    }

    /// Compacts what is stored, as v2 does after a while: of profiles of one series and time it keeps one.
    pub fn compact(&self) {
        let mut state = lock(&self.state);
        let storage = state.storage;
        let mut kept = Vec::new();
        for profile in state.profiles.drain(..) {
            store::keep(&mut kept, profile, storage);
        }
        state.profiles = kept;
    }

    /// Whether any location had no symbols: the real server may then drop the span selector.
    pub fn unsymbolized(&self) -> bool {
        lock(&self.state).unsymbolized
    }

    /// All CPU stored for a service, in nanoseconds.
    pub fn total(&self, service: &str) -> i64 {
        query::total(&lock(&self.state).profiles, service)
    }

    /// CPU of these spans of a service by function (self time), in nanoseconds.
    pub fn select_merge_span_profile(
        &self,
        service: &str,
        spans: &[&str],
    ) -> BTreeMap<String, i64> {
        query::by_function(&lock(&self.state).profiles, service, spans)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(state: &Mutex<State>, request: &Request) -> Response {
    match (request.method.as_str(), request.path()) {
        ("POST", "/push.v1.PusherService/Push") => push(state, request),
        ("POST", "/querier.v1.QuerierService/SelectMergeSpanProfile") => {
            query::select_merge_span_profile(&lock(state).profiles, request)
        }
        _ => Response::error(404, "not_found", "no such call"),
    }
}

fn push(state: &Mutex<State>, request: &Request) -> Response {
    let decoded = rules::body(request);
    let mut state = lock(state);
    state.pushes.push(Push {
        headers: request.headers.clone(),
        request: decoded.as_ref().ok().cloned(),
    });
    let misbehaviour = state.script.pop_front();
    match misbehaviour {
        Some(Misbehaviour::Status(status)) => {
            return Response::error(status, "unavailable", "by script");
        }
        Some(Misbehaviour::RetryAfter(seconds)) => {
            let response = Response::error(429, "resource_exhausted", "by script");
            return response.with_header("Retry-After", &seconds.to_string());
        }
        Some(Misbehaviour::Garbage) => return Response::Raw(b"\x00garbage\r\n\r\n".to_vec()),
        Some(Misbehaviour::Close) => return Response::Raw(Vec::new()),
        Some(Misbehaviour::Hang(time)) => {
            drop(state);
            thread::sleep(time);
            return Response::Raw(Vec::new());
        }
        Some(Misbehaviour::StoreAndClose) | None => {}
    }
    let response = match rules::tenant(request, state.has_tenants)
        .and(decoded)
        .and_then(|push| store(&mut state, &push))
    {
        Ok(()) => Response::proto(Vec::new()),
        Err(refusal) => {
            let response = Response::error(refusal.status, refusal.code, &refusal.message);
            state.refusals.push(refusal);
            response
        }
    };
    match misbehaviour {
        Some(_) => Response::Raw(Vec::new()),
        None => response,
    }
}

/// Series are taken one by one: those before a bad one stay stored.
fn store(state: &mut State, push: &PushRequest) -> Result<(), Refusal> {
    for series in &push.series {
        for sample in &series.samples {
            let (message, size) = rules::profile(&sample.raw_profile)?;
            state.rate.take(rules::charged(series, size))?;
            rules::check(series, &message)?;
            state.unsymbolized |= rules::unsymbolized(&message);
            let profiles = store::split(series, &message);
            for profile in &profiles {
                rules::series_labels(&profile.labels)?;
            }
            let all = state.profiles.iter().chain(&profiles);
            let series: BTreeSet<_> = all.map(|profile| &profile.labels).collect();
            rules::series_count(series.len())?;
            for profile in profiles {
                match state.storage {
                    Storage::V1 => store::keep(&mut state.profiles, profile, Storage::V1),
                    Storage::V2 => state.profiles.push(profile),
                }
            }
        }
    }
    Ok(())
}

/// A message's bytes.
fn encode(message: &impl prost::Message) -> Vec<u8> {
    message.encode_to_vec()
}

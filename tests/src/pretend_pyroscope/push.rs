//! `push.v1.PusherService/Push`: `pkg/distributor/distributor.go` of grafana/pyroscope. Each profile of a push
//! is judged by itself; the good ones are stored, whatever the answer is.

use std::{sync::Mutex, thread, time::Duration};

use profiler::{
    export::pyroscope::proto::{LabelPair, PushRequest, RawProfileSeries, RawSample},
    time::monotonic_now,
};
use prost::Message as _;
use serde_json::Value;

use crate::listen::lock;

use super::{
    Push, State,
    connect::{Call, Codec, NoCall},
    http::{Request, Response},
    json::{bytes, list, text},
    pprof::{self, Pprof},
    refusal::Refusal,
    rules,
    script::Misbehaviour,
    split,
    store::StoredProfile,
    tenant,
};

/// Takes a push.
pub(super) fn push(state: &Mutex<State>, request: &Request) -> Response {
    let call = Call::of(request);
    let decoded = call.as_ref().ok().map(decode);
    let (misbehaviour, is_stopping) = {
        let mut state = lock(state);
        let message = decoded.as_ref().and_then(|it| it.as_ref().ok());
        let message = message.filter(|_| !state.forgets_bodies).cloned();
        state.pushes.push(Push {
            headers: request.headers.clone(),
            request: message,
        });
        (state.script.next.pop_front(), state.script.is_stopping)
    };
    if let Some(Misbehaviour::Hang(time)) = misbehaviour {
        thread::sleep(time);
    }
    if let Some(response) = misbehaviour.as_ref().and_then(Misbehaviour::response) {
        return response;
    }
    let response = if is_stopping {
        refused(state, Refusal::unknown("service is unavailable"))
    } else {
        match call {
            Err(NoCall::Empty(response)) => response,
            Err(NoCall::Refused(refusal)) => refused(state, refusal),
            Ok(call) => {
                let decoded = decoded.unwrap_or_else(|| Ok(PushRequest::default()));
                match admitted(state, request, decoded) {
                    Ok(()) => call.answer(empty(call.codec)),
                    Err(refusal) => refused(state, refusal),
                }
            }
        }
    };
    match misbehaviour {
        // It was to be stored, and the answer lost.
        Some(_) => Response::Raw(Vec::new()),
        None => response,
    }
}

fn refused(state: &Mutex<State>, refusal: Refusal) -> Response {
    let response = refusal.response();
    lock(state).refusals.push(refusal);
    response
}

fn empty(codec: Codec) -> Vec<u8> {
    match codec {
        Codec::Proto => Vec::new(),
        Codec::Json => b"{}".to_vec(),
    }
}

fn decode(call: &Call) -> Result<PushRequest, Refusal> {
    let message = call.message.as_slice();
    let decoded = match call.codec {
        Codec::Proto => PushRequest::decode(message).map_err(|error| error.to_string()),
        Codec::Json => serde_json::from_slice(message)
            .map_err(|error| error.to_string())
            .and_then(|value| from_json(&value).ok_or_else(|| "not a push".to_owned())),
    };
    decoded.map_err(|error| Refusal::invalid(format!("unmarshal message: {error}")))
}

fn from_json(value: &Value) -> Option<PushRequest> {
    let series = list(value, &["series"])?.iter().map(|series| {
        let labels = list(series, &["labels"])?.iter().map(|label| {
            Some(LabelPair {
                name: text(label, &["name"])?,
                value: text(label, &["value"])?,
            })
        });
        let samples = list(series, &["samples"])?.iter().map(|sample| {
            Some(RawSample {
                raw_profile: bytes(sample, &["rawProfile", "raw_profile"])?,
                id: text(sample, &["ID"])?,
            })
        });
        Some(RawProfileSeries {
            labels: labels.collect::<Option<_>>()?,
            samples: samples.collect::<Option<_>>()?,
        })
    });
    Some(PushRequest {
        series: series.collect::<Option<_>>()?,
    })
}

fn admitted(
    state: &Mutex<State>,
    request: &Request,
    decoded: Result<PushRequest, Refusal>,
) -> Result<(), Refusal> {
    let push = decoded?;
    let (has_tenants, authorization) = {
        let state = lock(state);
        (state.has_tenants, state.authorization.clone())
    };
    if authorization.is_some_and(|wanted| request.header("authorization") != wanted) {
        return Err(Refusal::unauthenticated("invalid token"));
    }
    if has_tenants {
        tenant::check(request)?;
    }
    let waited = monotonic_now().saturating_duration_since(request.arrived);
    store(state, &push, waited)
}

/// Stores the valid part of a push, once its answer is due; the answer has one of its errors.
pub(super) fn store(
    state: &Mutex<State>,
    push: &PushRequest,
    waited: Duration,
) -> Result<(), Refusal> {
    let series = push.series.iter();
    let profiles = series.flat_map(|series| series.samples.iter().map(move |it| (series, it)));
    let (mut undecoded, mut decoded) = (Vec::new(), Vec::new());
    for (series, sample) in profiles {
        match pprof::decode(&sample.raw_profile) {
            Ok(pprof) => decoded.push((series, &sample.id, pprof)),
            Err(refusal) => undecoded.push(refusal),
        }
    }
    if decoded.is_empty() && undecoded.is_empty() {
        return Err(Refusal::invalid("no profiles received"));
    }
    let (mut good, mut errors) = (Vec::new(), Vec::new());
    for (index, (series, id, pprof)) in decoded.into_iter().enumerate() {
        match rows(state, series, pprof) {
            Ok(rows) => good.push(rows),
            Err(error) => errors.push(indexed(error, index, id)),
        }
    }
    if !good.is_empty() {
        // What is refused is so at once; what is stored is acknowledged when its segment is written.
        let answer_after = lock(state).answer_after;
        thread::sleep(answer_after.saturating_sub(waited));
        let store = &mut lock(state).store;
        errors.extend(good.into_iter().filter_map(|rows| store.put(rows).err()));
    }
    // An error with a code hides those without: the server's answer is made of the first that has one.
    let told = [errors, undecoded].concat();
    let (mut coded, unknown): (Vec<_>, Vec<_>) =
        told.into_iter().partition(|it| it.code != "unknown");
    if coded.is_empty() {
        coded = unknown;
    }
    // The server checks them in parallel: which one it answers is chance.
    let chance = lock(state).pushes.len();
    let index = chance.checked_rem(coded.len()).unwrap_or(0);
    match coded.into_iter().nth(index) {
        Some(refusal) => Err(refusal),
        None => Ok(()),
    }
}

/// An error without a code comes with the place at which it occurred.
fn indexed(error: Refusal, index: usize, id: &str) -> Refusal {
    if error.code != "unknown" {
        return error;
    }
    let message = error.message;
    Refusal {
        message: format!("push series with index {index} and id {id} failed: {message}"),
        ..error
    }
}

/// The rows of one profile; none if nothing is left of it.
fn rows(
    state: &Mutex<State>,
    series: &RawProfileSeries,
    mut pprof: Pprof,
) -> Result<Vec<StoredProfile>, Refusal> {
    let own = split::own_labels(series);
    let service = own.iter().find(|(name, _)| name == "service_name");
    {
        let mut state = lock(state);
        state
            .script
            .service(service.map_or("", |it| it.1.as_str()))?;
        state.rate.take(rules::charged(series, pprof.size))?;
    }
    rules::profile(&own, &mut pprof)?;
    let groups = split::groups(&own, &pprof.profile);
    for (labels, _) in &groups {
        rules::series_labels(labels)?;
    }
    if !groups.is_empty() && split::unsymbolized(&pprof.profile) {
        lock(state).unsymbolized = true;
    }
    let groups = groups.into_iter();
    Ok(groups
        .flat_map(|group| split::rows(&pprof.profile, group))
        .collect())
}

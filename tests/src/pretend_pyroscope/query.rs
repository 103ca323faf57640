//! Grafana's queries: `querier.v1.QuerierService` of grafana/pyroscope. All calls take JSON; the one for
//! spans in protobuf, too, as Grafana does it.

mod exemplars;
mod pprof;
mod series;

use std::sync::Mutex;

use prost::Message as _;
use serde_json::{Value, json};

use crate::listen::lock;

use super::{
    State,
    connect::{Call, Codec, NoCall},
    flame_graph::FlameGraph,
    http::{Request, Response},
    json::{list, number, text, texts},
    refusal::Refusal,
    selector::Selector,
    store::{Storage, Store, StoredProfile, StoredSample},
    tenant,
};

/// The path of the service.
pub(super) const SERVICE: &str = "/querier.v1.QuerierService/";

/// The request of any call.
#[derive(Debug, Default)]
struct Question {
    profile_type: String,
    selector: String,
    spans: Vec<String>,
    traces: Vec<String>,
    /// Milliseconds since 1970.
    start: i64,
    end: i64,
    /// Seconds.
    step: i64,
    /// Selectors, of calls that name several.
    matchers: Vec<String>,
    /// Name of a label, or names of those to group by.
    names: Vec<String>,
    exemplars: String,
    /// Whether the client can read names with dots.
    reads_utf8: bool,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct SpanProfileRequest {
    #[prost(string, tag = "1")]
    profile_type: String,
    #[prost(string, tag = "2")]
    label_selector: String,
    #[prost(string, repeated, tag = "3")]
    span_selector: Vec<String>,
    #[prost(int64, tag = "4")]
    start: i64,
    #[prost(int64, tag = "5")]
    end: i64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct SpanProfileResponse {
    #[prost(message, optional, tag = "1")]
    flamegraph: Option<FlameGraph>,
}

/// Answers a query, by its name.
pub(super) fn answer(state: &Mutex<State>, request: &Request, name: &str) -> Response {
    let call = match Call::of(request) {
        Ok(call) => call,
        Err(NoCall::Empty(response)) => return response,
        Err(NoCall::Refused(refusal)) => return refusal.response(),
    };
    match asked(state, request, &call, name) {
        Ok(message) => call.answer(message),
        Err(refusal) => refusal.response(),
    }
}

fn asked(
    state: &Mutex<State>,
    request: &Request,
    call: &Call,
    name: &str,
) -> Result<Vec<u8>, Refusal> {
    let mut question = match call.codec {
        Codec::Json => Question::from_json(&call.message),
        Codec::Proto if name == "SelectMergeSpanProfile" => Question::from_proto(&call.message),
        Codec::Proto => return Err(Refusal::unimplemented("in JSON only, of a stand-in")),
    }
    .ok_or_else(|| Refusal::invalid("unmarshal message: not what this call takes"))?;
    let accepted = request.header("accept");
    question.reads_utf8 = accepted.contains("allow-utf8-labelnames=true");
    let state = lock(state);
    if state.has_tenants {
        tenant::check(request)?;
    }
    let store = &state.store;
    let answer = match name {
        "SelectMergeSpanProfile" | "SelectMergeStacktraces" => {
            let graph = question.flame_graph(store)?;
            if call.codec == Codec::Proto {
                let flamegraph = Some(graph);
                return Ok(SpanProfileResponse { flamegraph }.encode_to_vec());
            }
            json!({"flamegraph": graph.json()})
        }
        "SelectMergeProfile" => pprof::merged(&question, store)?,
        "SelectHeatmap" => exemplars::heatmap(&question, store)?,
        "SelectSeries" => series::points(&question, store)?,
        "ProfileTypes" => series::types(&question, store)?,
        "LabelNames" => series::names(&question, store)?,
        "LabelValues" => series::values(&question, store)?,
        "Series" => series::series(&question, store)?,
        _ => return Err(Refusal::unimplemented(format!("unknown call {name}"))),
    };
    Ok(answer.to_string().into_bytes())
}

impl Question {
    fn from_json(message: &[u8]) -> Option<Self> {
        let value: Value = serde_json::from_slice(message).ok()?;
        let names = [
            list(&value, &["labelNames", "label_names"])?,
            list(&value, &["groupBy", "group_by"])?,
        ];
        let names = names.concat();
        let names = names.iter().map(|it| it.as_str().map(str::to_owned));
        let mut names: Vec<String> = names.collect::<Option<_>>()?;
        names.extend(Some(text(&value, &["name"])?).filter(|it| !it.is_empty()));
        Some(Self {
            profile_type: text(&value, &["profileTypeID", "profile_typeID"])?,
            selector: text(&value, &["labelSelector", "label_selector"])?,
            spans: texts(&value, &["spanSelector", "span_selector"])?,
            traces: texts(&value, &["traceIdSelector", "trace_id_selector"])?,
            start: number(&value, &["start"])?,
            end: number(&value, &["end"])?,
            step: value
                .get("step")
                .map_or(Some(0.0), Value::as_f64)
                .map(seconds)?,
            matchers: texts(&value, &["matchers"])?,
            names,
            exemplars: text(&value, &["exemplarType", "exemplar_type"])?,
            reads_utf8: false,
        })
    }

    fn from_proto(message: &[u8]) -> Option<Self> {
        let request = SpanProfileRequest::decode(message).ok()?;
        Some(Self {
            profile_type: request.profile_type,
            selector: request.label_selector,
            spans: request.span_selector,
            start: request.start,
            end: request.end,
            ..Self::default()
        })
    }

    fn flame_graph(&self, store: &Store) -> Result<FlameGraph, Refusal> {
        let samples: Vec<_> = self.samples(store)?.collect();
        let samples = samples.into_iter();
        Ok(FlameGraph::of(samples.map(|(_, sample)| {
            (sample.stack.as_slice(), sample.value)
        })))
    }

    /// The result of the query, sample by sample.
    fn samples<'a>(
        &'a self,
        store: &'a Store,
    ) -> Result<impl Iterator<Item = (&'a StoredProfile, &'a StoredSample)>, Refusal> {
        let spans = ids(&self.spans, 16, "span")?;
        if !self.traces.is_empty() {
            if !self.spans.is_empty() {
                let words = "span_selector and trace_id_selector cannot be used together";
                return Err(Refusal::invalid(words));
            }
            if store.storage == Storage::V1 {
                let words = "trace_id_selector is not supported by the v1 storage";
                return Err(Refusal::unimplemented(words));
            }
        }
        let traces = ids(&self.traces, 32, "trace")?;
        let is_of = |id: Option<&String>, wanted: &[String]| {
            wanted.is_empty() || id.is_some_and(|id| wanted.contains(id))
        };
        Ok(self.profiles(store)?.flat_map(move |profile| {
            let samples: Vec<_> = profile
                .samples
                .iter()
                .filter(|it| is_of(it.span_id.as_ref(), &spans))
                .filter(|it| is_of(it.trace_id.as_ref(), &traces))
                .map(|it| (profile, it))
                .collect();
            samples
        }))
    }

    /// Profiles of the requested type, series and time.
    fn profiles<'a>(
        &'a self,
        store: &'a Store,
    ) -> Result<impl Iterator<Item = &'a StoredProfile>, Refusal> {
        if self.profile_type.split(':').count() != 5 {
            return Err(Refusal::invalid(format!(
                "profile-type selection must be of the form <name>:<sample-type>:<sample-unit>:<period-type>:<period-unit>(:delta), got: {:?}",
                self.profile_type
            )));
        }
        let selector = Selector::parse(&self.selector)?;
        let profiles = self.in_range(store)?.filter(move |it| selector.is_met(it));
        let is_asked =
            |it: &&StoredProfile| it.label("__profile_type__") == Some(&self.profile_type);
        Ok(profiles.filter(is_asked))
    }

    /// Profiles of any of the selectors, if there are any.
    fn matched<'a>(
        &'a self,
        store: &'a Store,
    ) -> Result<impl Iterator<Item = &'a StoredProfile>, Refusal> {
        let selectors = self.matchers.iter().map(|it| Selector::parse(it));
        let selectors = selectors.collect::<Result<Vec<_>, _>>()?;
        Ok(self.in_range(store)?.filter(move |profile| {
            selectors.is_empty() || selectors.iter().any(|it| it.is_met(profile))
        }))
    }

    fn in_range<'a>(
        &self,
        store: &'a Store,
    ) -> Result<impl Iterator<Item = &'a StoredProfile> + use<'a>, Refusal> {
        let (start, end) = (self.start, self.end);
        if start == 0 || end == 0 {
            return Err(Refusal::invalid("missing time range in the query"));
        }
        if start > end {
            return Err(Refusal::invalid("query start time is after end time"));
        }
        let is_in = move |it: &&StoredProfile| (start..=end).contains(&(it.time_nanos / 1_000_000));
        Ok(store.profiles().filter(is_in))
    }
}

/// Ids as they are stored. A wrong one is no fault of the client's to the server, but an error without a code.
fn ids(selector: &[String], digits: usize, kind: &str) -> Result<Vec<String>, Refusal> {
    let told =
        |error: String| Refusal::unknown(format!("rpc error: code = Unknown desc = {error}"));
    let ids = selector.iter().map(|id| {
        if id.len() != digits {
            return Err(told(format!("invalid {kind} id length: {id:?}")));
        }
        match id.chars().find(|it| !it.is_ascii_hexdigit()) {
            None => Ok(id.to_lowercase()),
            Some(wrong) => Err(told(format!(
                "encoding/hex: invalid byte: U+{:04X} '{wrong}'",
                u32::from(wrong)
            ))),
        }
    });
    ids.collect()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a step is seconds, and no fraction of any is asked for"
)]
fn seconds(step: f64) -> i64 {
    step as i64
}

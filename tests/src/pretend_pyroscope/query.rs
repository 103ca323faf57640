//! The one query Grafana sends for a span: `querier.v1.QuerierService/SelectMergeSpanProfile`.

use std::collections::BTreeMap;

use prost::Message as _;
use serde_json::{Value, json};

use super::{
    StoredProfile, encode,
    http::{Request, Response},
};

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct SelectRequest {
    #[prost(string, tag = "1")]
    profile_type: String,
    #[prost(string, tag = "2")]
    label_selector: String,
    #[prost(string, repeated, tag = "3")]
    span_selector: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct SelectResponse {
    #[prost(message, optional, tag = "1")]
    flamegraph: Option<FlameGraph>,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct FlameGraph {
    #[prost(string, repeated, tag = "1")]
    names: Vec<String>,
    #[prost(message, repeated, tag = "2")]
    levels: Vec<Level>,
    #[prost(int64, tag = "3")]
    total: i64,
    #[prost(int64, tag = "4")]
    max_self: i64,
}

#[derive(Clone, PartialEq, Eq, prost::Message)]
struct Level {
    #[prost(int64, repeated, tag = "1")]
    values: Vec<i64>,
}

pub(super) fn total(profiles: &[StoredProfile], service: &str) -> i64 {
    let profiles = profiles.iter();
    let of_service = profiles.filter(|profile| profile.label("service_name") == Some(service));
    let samples = of_service.flat_map(|profile| &profile.samples);
    samples.map(|sample| sample.value).sum()
}

/// Stacks (leaf first) and values of spans of a service.
fn selected<'store>(
    profiles: &'store [StoredProfile],
    service: &'store str,
    spans: &'store [&str],
) -> impl Iterator<Item = (&'store [String], i64)> {
    let of_service = move |it: &&StoredProfile| it.label("service_name") == Some(service);
    let samples = profiles.iter().filter(of_service);
    samples
        .flat_map(|profile| &profile.samples)
        .filter(|sample| {
            let span = sample.span_id.as_deref();
            span.is_some_and(|span| spans.iter().any(|it| it.eq_ignore_ascii_case(span)))
        })
        .map(|sample| (sample.stack.as_slice(), sample.value))
}

pub(super) fn by_function(
    profiles: &[StoredProfile],
    service: &str,
    spans: &[&str],
) -> BTreeMap<String, i64> {
    let mut functions = BTreeMap::new();
    for (stack, value) in selected(profiles, service, spans) {
        let leaf = stack.first().cloned().unwrap_or_default();
        *functions.entry(leaf).or_default() += value;
    }
    functions
}

pub(super) fn select_merge_span_profile(profiles: &[StoredProfile], request: &Request) -> Response {
    let is_json = request
        .header("content-type")
        .starts_with("application/json");
    let Some(query) = decode(request, is_json) else {
        return Response::error(400, "invalid_argument", "cannot decode");
    };
    if query.profile_type != "process_cpu:cpu:nanoseconds:cpu:nanoseconds" {
        return Response::error(400, "invalid_argument", "unknown profile type");
    }
    if query.span_selector.iter().any(|span| span.len() != 16) {
        return Response::error(400, "invalid_argument", "invalid span id length");
    }
    // Only `{service_name="…"}` is understood.
    let service = query.label_selector.split('"').nth(1).unwrap_or_default();
    let spans: Vec<&str> = query.span_selector.iter().map(String::as_str).collect();
    let graph = Node::of(selected(profiles, service, &spans)).flame_graph();
    if is_json {
        let levels: Vec<Value> = graph
            .levels
            .iter()
            .map(|it| json!({"values": it.values}))
            .collect();
        return Response::json(&json!({"flamegraph": {
            "names": graph.names, "levels": levels,
            // 64-bit numbers are text in proto3's JSON.
            "total": graph.total.to_string(), "maxSelf": graph.max_self.to_string(),
        }}));
    }
    Response::proto(encode(&SelectResponse {
        flamegraph: Some(graph),
    }))
}

fn decode(request: &Request, is_json: bool) -> Option<SelectRequest> {
    if !is_json {
        return SelectRequest::decode(request.body.as_slice()).ok();
    }
    let value: Value = serde_json::from_slice(&request.body).ok()?;
    let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
    let spans = value.get("spanSelector").and_then(Value::as_array);
    let spans = spans.into_iter().flatten().filter_map(Value::as_str);
    Some(SelectRequest {
        profile_type: text("profileTypeID")?,
        label_selector: text("labelSelector")?,
        span_selector: spans.map(str::to_owned).collect(),
    })
}

#[derive(Default)]
struct Node {
    total: i64,
    own: i64,
    children: BTreeMap<String, Self>,
}

impl Node {
    fn of<'store>(stacks: impl Iterator<Item = (&'store [String], i64)>) -> Self {
        let mut root = Self::default();
        for (stack, value) in stacks {
            root.total += value;
            let mut node = &mut root;
            for name in stack.iter().rev() {
                node = node.children.entry(name.clone()).or_default();
                node.total += value;
            }
            node.own += value;
        }
        root
    }

    /// Levels of (offset from the end of the left neighbour, total, self, name).
    fn flame_graph(&self) -> FlameGraph {
        let mut graph = FlameGraph {
            total: self.total,
            ..FlameGraph::default()
        };
        let mut level = vec![(0, "total", self)];
        while !level.is_empty() {
            let (mut values, mut next, mut end) = (Vec::new(), Vec::new(), 0);
            for &(start, name, node) in &level {
                let names = &mut graph.names;
                let index = names
                    .iter()
                    .position(|it| it == name)
                    .unwrap_or(names.len());
                if index == names.len() {
                    names.push(name.to_owned());
                }
                let index = i64::try_from(index).unwrap_or(0);
                values.extend([start - end, node.total, node.own, index]);
                end = start + node.total;
                graph.max_self = graph.max_self.max(node.own);
                let mut child_start = start;
                for (name, child) in &node.children {
                    next.push((child_start, name.as_str(), child));
                    child_start += child.total;
                }
            }
            graph.levels.push(Level { values });
            level = next;
        }
        graph
    }
}

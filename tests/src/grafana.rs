//! Grafana's *Traces to profiles*, as it goes from a span to a query: by the data sources that are provisioned.
//!
//! Facts: `public/app/features/explore/TraceView/createSpanLink.tsx` and `SpanFlameGraph.tsx` of Grafana, and
//! `pkg/tsdb/grafana-pyroscope-datasource/query.go`.

use std::{fmt::Write as _, net::SocketAddr};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{http, traces::Span};

/// The attribute of a span that Grafana asks for.
const PROFILE_ID: &str = "pyroscope.profile.id";
/// Milliseconds that the embedded flame graph asks for before and after the span.
const AROUND: i64 = 30_000;
/// How many functions are drawn of a chain in which each only calls the next: the last ones.
const LAST: usize = 3;
/// Columns that a bar of the drawn flame graph has at most.
pub const WIDEST: usize = 20;

/// A file of data sources, as far as the link goes by it.
#[derive(Debug, Deserialize)]
pub struct Provisioned {
    datasources: Vec<DataSource>,
}

#[derive(Debug, Deserialize)]
struct DataSource {
    uid: Option<String>,
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "jsonData")]
    json_data: Option<JsonData>,
}

#[derive(Debug, Deserialize)]
struct JsonData {
    #[serde(rename = "tracesToProfiles")]
    traces_to_profiles: Option<TracesToProfiles>,
}

/// `tracesToProfiles` of a Tempo data source.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct TracesToProfiles {
    datasource_uid: String,
    profile_type_id: String,
    custom_query: bool,
    tags: Vec<Tag>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tag {
    key: String,
    value: String,
}

/// What the answer to a click is drawn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlameGraph {
    /// CPU time of the span, in nanoseconds.
    pub total: i64,
    /// Functions from the root to the leaf: depth, name, its nanoseconds with all that it calls.
    pub frames: Vec<(usize, String, i64)>,
}

impl Provisioned {
    /// Reads the file.
    ///
    /// # Errors
    /// If it is no file of data sources, or has a link with fields that Grafana does not know.
    pub fn parse(yaml: &str) -> Result<Self, String> {
        serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
    }

    /// The request that a click on *Profiles for this span* makes: `SelectMergeSpanProfile`, in Connect's JSON.
    /// `None` if Grafana shows no link: the span has no `pyroscope.profile.id`, nothing links to a Pyroscope, or
    /// the span has none of the tags.
    pub fn click(&self, span: &Span) -> Option<Value> {
        let link = self
            .datasources
            .iter()
            .filter(|source| source.kind == "tempo")
            .find_map(|source| source.json_data.as_ref()?.traces_to_profiles.clone())?;
        let is_there = |source: &DataSource| {
            source.kind == "grafana-pyroscope-datasource"
                && source.uid.as_deref() == Some(link.datasource_uid.as_str())
        };
        if link.custom_query || !self.datasources.iter().any(is_there) {
            return None;
        }
        let id = span.attributes.get(PROFILE_ID)?;
        let tags = link.tags.iter().filter_map(|tag| {
            let value = span.attributes.get(&tag.key)?;
            Some(format!("{}=\"{value}\"", tag.value))
        });
        let selector = tags.collect::<Vec<_>>().join(",");
        if selector.is_empty() {
            return None;
        }
        let milliseconds = |nanoseconds: i64| nanoseconds / 1_000_000;
        Some(json!({
            "profileTypeID": link.profile_type_id,
            "labelSelector": format!("{{{selector}}}"),
            "spanSelector": [id],
            "start": (milliseconds(span.start) - AROUND).to_string(),
            "end": (milliseconds(span.end) + AROUND).to_string(),
        }))
    }
}

/// Asks a Pyroscope.
///
/// # Errors
/// If the request fails, or its answer is no flame graph.
pub fn ask(pyroscope: SocketAddr, request: &Value) -> Result<FlameGraph, String> {
    let path = "/querier.v1.QuerierService/SelectMergeSpanProfile";
    let answer = http::post_json(pyroscope, path, request)?;
    FlameGraph::of(&answer).ok_or_else(|| format!("no flame graph: {answer}"))
}

impl FlameGraph {
    /// Of an answer in JSON: levels of groups of four numbers (columns from the end of the group before, total,
    /// self, index of the name).
    pub fn of(answer: &Value) -> Option<Self> {
        let graph = answer.get("flamegraph")?;
        let number = |value: &Value| match value {
            Value::String(text) => text.parse().ok(),
            other => other.as_i64(),
        };
        let total = graph.get("total").map_or(Some(0), number)?;
        let names = graph
            .get("names")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let levels = graph
            .get("levels")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        // The column in which each bar begins, to put it under its caller.
        let mut bars: Vec<(usize, i64, String, i64)> = Vec::new();
        for (depth, level) in levels.iter().enumerate() {
            let values = level
                .get("values")
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default();
            let mut at = 0;
            let (groups, _) = values.as_chunks::<4>();
            for [offset, own, _, name] in groups {
                at += number(offset)?;
                let name = names.get(usize::try_from(number(name)?).ok()?)?.as_str()?;
                bars.push((depth, at, name.to_owned(), number(own)?));
                at += number(own)?;
            }
        }
        // By the column in which they begin, callers first.
        bars.sort_by_key(|(depth, at, ..)| (*at, *depth));
        let frames = bars
            .into_iter()
            .map(|(depth, _, name, own)| (depth, name, own))
            .collect();
        Some(Self { total, frames })
    }

    /// Whether a function is in it.
    pub fn has(&self, function: &str) -> bool {
        self.frames
            .iter()
            .any(|(_, name, _)| name.contains(function))
    }

    /// Drawn for a terminal: a line for each function that has a hundredth of the time, callers above what they
    /// call. Of functions that do nothing but call the next one the last are drawn, and how many there are before.
    pub fn draw(&self) -> String {
        let drawn = |(_, _, own): &&(usize, String, i64)| own * 100 >= self.total;
        let frames: Vec<_> = self.frames.iter().filter(drawn).collect();
        let mut text = String::new();
        // How deep the frames are drawn that lead to the next one.
        let mut depths: Vec<(usize, usize)> = Vec::new();
        let mut passed = 0;
        let only_calls = |place: usize| match (frames.get(place), frames.get(place + 1)) {
            (Some((depth, _, own)), Some((below, _, its))) => below > depth && its == own,
            _ => false,
        };
        for (place, (depth, name, own)) in frames.iter().enumerate() {
            depths.retain(|(above, _)| above < depth);
            if (place..place + LAST).all(only_calls) {
                passed += 1;
                continue;
            }
            let indent = depths.last().map_or(0, |(_, drawn)| drawn + 1);
            depths.push((*depth, indent));
            let share = own * i64::try_from(WIDEST).unwrap_or(1) / self.total.max(1);
            let bar = "█".repeat(usize::try_from(share).unwrap_or(0).max(1));
            let callers = match passed {
                0 => String::new(),
                1 => "… 1 caller … ".to_owned(),
                some => format!("… {some} callers … "),
            };
            let milliseconds = own / 1_000_000;
            let indent = "  ".repeat(indent);
            let _ = writeln!(
                text,
                "{milliseconds:>6} ms  {bar:<WIDEST$}  {indent}{callers}{name}"
            );
            passed = 0;
        }
        text
    }
}

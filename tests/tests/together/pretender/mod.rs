//! The pretend Pyroscope against `tests/data/pyroscope.toml`: inputs, and what a real server answered.
//!
//! The same table judges a real one: `SPANPROF_REAL_PYROSCOPE=http://127.0.0.1:4040 cargo test --package tests
//! --test together pretender -- --nocapture`, with `SPANPROF_REAL_STORAGE=v1` if it is not v2.

mod client;
mod facilities;
mod message;
mod row;

use std::{env, time::Duration};

use profiler::time::UnixNanos;
use prost::Message as _;
use serde_json::{Value, json};
use tests::pretend_pyroscope::{PretendPyroscope, Storage};

use client::{Answer, ask};
use message::{Context, gzip};
use row::{Row, Setting, Step, Table};

const TABLE: &str = include_str!("../../../data/pyroscope.toml");
const PUSH: &str = "/push.v1.PusherService/Push";
const QUERIES: &str = "/querier.v1.QuerierService/";
const CPU: &str = "process_cpu:cpu:nanoseconds:cpu:nanoseconds";

/// The server that is compared.
enum Server {
    Pretender(PretendPyroscope),
    /// `host:port` of one that takes no orders.
    Running(String),
}

impl Server {
    /// The pretender as a row wants it.
    fn pretender(storage: Storage, setting: Option<Setting>) -> Self {
        let server = PretendPyroscope::with(storage);
        match setting {
            Some(Setting::Tenants) => server.require_tenants(),
            Some(Setting::Stopping) => server.stopping(true),
            Some(Setting::Segments) => server.answer_after(Duration::from_millis(200)),
            Some(Setting::Fresh) | None => {}
        }
        Self::Pretender(server)
    }

    fn address(&self) -> String {
        match self {
            Self::Pretender(server) => server.address().to_string(),
            Self::Running(address) => address.clone(),
        }
    }
}

fn rows() -> Vec<Row> {
    let table: Table = toml::from_str(TABLE).unwrap();
    table.row
}

/// Every row, on both storages if the row does not name one.
#[test]
fn does_as_the_real_one_did() {
    let mut wrong = Vec::new();
    for (number, row) in rows().iter().enumerate() {
        for (name, storage) in [("v1", Storage::V1), ("v2", Storage::V2)] {
            if row.storage.as_deref().is_none_or(|it| it == name) {
                let server = Server::pretender(storage, row.setting);
                let faults = judge(&server, row, number);
                wrong.extend(
                    faults
                        .into_iter()
                        .map(|it| format!("{} ({name}): {it}", row.name)),
                );
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every row that can be asked of a server that runs already, one after the other: of a real one if there is
/// one, else of a pretender that knows nothing of rows.
#[test]
fn server_that_runs_already() {
    let pretender = PretendPyroscope::with(Storage::V2);
    let url = env::var("SPANPROF_REAL_PYROSCOPE").unwrap_or_else(|_| pretender.url());
    let storage = env::var("SPANPROF_REAL_STORAGE").unwrap_or_else(|_| "v2".to_owned());
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let server = Server::Running(address.to_owned());
    let mut wrong = Vec::new();
    for (number, row) in rows().iter().enumerate() {
        let reason = match (&row.storage, row.setting) {
            (Some(other), _) if *other != storage => Some(format!("for storage {other}")),
            (_, Some(setting)) => Some(format!("needs a server with {setting:?}")),
            _ if row.step.iter().any(|it| it.compact) => Some("cannot compact".to_owned()),
            _ => None,
        };
        if let Some(reason) = reason {
            eprintln!("skipped: {}: {reason}", row.name);
            continue;
        }
        let faults = judge(&server, row, number);
        wrong.extend(faults.into_iter().map(|it| format!("{}: {it}", row.name)));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What a server does otherwise than a row says.
fn judge(server: &Server, row: &Row, number: usize) -> Vec<String> {
    let now = i64::try_from(UnixNanos::now().0).unwrap();
    let context = Context {
        service: format!("row-{number}-{now}"),
        // On a whole millisecond, so that rows can say what is in the same.
        now: now / 1_000_000 * 1_000_000,
    };
    let mut faults = Vec::new();
    for (index, step) in row.step.iter().enumerate() {
        if let (Server::Pretender(server), true) = (server, step.compact) {
            server.compact();
        }
        let answer = request(server, &context, step);
        let found = compare(&context, step, &answer);
        faults.extend(found.into_iter().map(|it| format!("step {index}: {it}")));
    }
    if let Some(stored) = row.stored {
        let step = Step {
            query: Some("SelectMergeStacktraces".to_owned()),
            status: 200,
            total: Some(stored),
            ..Step::default()
        };
        let answer = request(server, &context, &step);
        let found = compare(&context, &step, &answer);
        faults.extend(found.into_iter().map(|it| format!("stored: {it}")));
    }
    faults
}

fn request(server: &Server, context: &Context, step: &Step) -> Answer {
    let mut headers = step.send.clone();
    for value in headers.values_mut() {
        *value = context.text(value);
    }
    let (path, kind, mut body) = if let Some(query) = &step.query {
        let body = question(context, step).to_string().into_bytes();
        (format!("{QUERIES}{query}"), "application/json", body)
    } else if let (Some(series), Some(names)) = (&step.push, step.json) {
        let body = message::json(&context.push(series), names);
        (
            PUSH.to_owned(),
            "application/json",
            body.to_string().into_bytes(),
        )
    } else if let Some(series) = &step.push {
        (
            PUSH.to_owned(),
            "application/proto",
            context.push(series).encode_to_vec(),
        )
    } else if let Some(profile) = &step.profile {
        (
            PUSH.to_owned(),
            "application/octet-stream",
            context.profile(profile),
        )
    } else {
        let text = step.text.clone().unwrap_or_default();
        (PUSH.to_owned(), "application/proto", text.into_bytes())
    };
    if step.gzip {
        body = gzip(&body);
        headers
            .entry("Content-Encoding".to_owned())
            .or_insert_with(|| "gzip".to_owned());
    }
    body.truncate(body.len() - step.cut);
    headers
        .entry("Content-Type".to_owned())
        .or_insert_with(|| kind.to_owned());
    let path = step.path.as_ref().map_or(path, |it| context.text(it));
    let method = step.method.as_deref().unwrap_or("POST");
    ask(&server.address(), method, &path, &headers, &body)
}

/// The fields of a query: those that every query has, and the step's own.
fn question(context: &Context, step: &Step) -> Value {
    let milliseconds = |minutes: i64| (context.now / 1_000_000 + minutes * 60_000).to_string();
    let selector = context.text("{service_name=\"{service}\"}");
    let mut fields = json!({
        "profileTypeID": CPU, "labelSelector": selector, "matchers": [selector],
        "start": milliseconds(-70), "end": milliseconds(20),
    });
    let own = context.text(&serde_json::to_string(&step.ask).unwrap());
    let own: Value = serde_json::from_str(&own).unwrap();
    let fields_of = fields.as_object_mut().unwrap();
    fields_of.retain(|name, _| !step.without.contains(name));
    fields_of.extend(own.as_object().unwrap().clone());
    fields
}

fn compare(context: &Context, step: &Step, answer: &Answer) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |what: &str, is_right: bool, expected: &dyn std::fmt::Debug| {
        if !is_right {
            faults.push(format!("{what} is not {expected:?}: {answer:?}"));
        }
    };
    let json = answer.json();
    check("status", answer.status == step.status, &step.status);
    if let Some(code) = &step.code {
        check("code", answer.error("code") == *code, code);
    }
    let message = answer.error("message");
    if let Some(words) = &step.words {
        check("message", message.contains(&context.text(words)), words);
    }
    let told = step
        .one_of
        .iter()
        .filter(|it| message.contains(*it))
        .count();
    check(
        "one of the messages",
        step.one_of.is_empty() || told == 1,
        &step.one_of,
    );
    for (name, value) in &step.headers {
        // An empty one is not there.
        let given = answer.headers.get(name).map_or("", String::as_str);
        check(name, given == value, value);
    }
    if let Some(body) = &step.body {
        let expected: Option<Value> = serde_json::from_str(body).ok();
        let is_right = match (&json, &expected) {
            (Some(json), Some(expected)) => json == expected,
            _ => answer.body == *body,
        };
        check("body", is_right, body);
    }
    if let Some(length) = &step.length {
        check("length", answer.length == *length, length);
    }
    if let Some(total) = &step.total {
        let number = json.as_ref().map(|it| it["flamegraph"]["total"].clone());
        let text = number.as_ref().and_then(Value::as_str).unwrap_or("0");
        check("total", text.parse() == Ok(*total), total);
    }
    let compact = json.map_or_else(|| answer.body.clone(), |it| it.to_string());
    for part in &step.has {
        check("a part", compact.contains(&context.text(part)), part);
    }
    for part in &step.lacks {
        check(
            "a part",
            !compact.contains(&context.text(part)),
            &format!("absent: {part}"),
        );
    }
    if let Some(milliseconds) = &step.takes {
        let took = answer.took;
        check(
            "time",
            took >= Duration::from_millis(*milliseconds),
            milliseconds,
        );
    }
    faults
}

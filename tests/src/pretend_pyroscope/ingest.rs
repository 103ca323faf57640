//! `POST /ingest`, the way into Pyroscope before the push: `pkg/ingester/pyroscope/ingest_handler.go` of
//! grafana/pyroscope. Here it takes pprof, as the body or as a field of a form, and lines of stacks; of the
//! other formats of old agents it takes none.

use std::{sync::Mutex, time::Duration};

use memchr::memmem;
use profiler::{
    export::pyroscope::proto::{LabelPair, PushRequest, RawProfileSeries, RawSample},
    profile::proto::{Function, Line, Location, Mapping, Profile, Sample, ValueType},
};
use prost::Message as _;

use crate::listen::lock;

use super::{
    State,
    http::{Request, Response},
    push::store,
    refusal::Refusal,
    tenant,
};

pub(super) fn ingest(state: &Mutex<State>, request: &Request) -> Response {
    match taken(state, request) {
        Ok(()) => Response::empty(200),
        Err(refusal) => {
            let response = refusal.response();
            lock(state).refusals.push(refusal);
            response
        }
    }
}

fn taken(state: &Mutex<State>, request: &Request) -> Result<(), Refusal> {
    if lock(state).has_tenants {
        tenant::check(request)?;
    }
    let parameter = |name: &str| {
        let mut pairs = request.query().split('&');
        let value = pairs.find_map(|it| it.strip_prefix(name)?.strip_prefix('='));
        value.map_or_else(String::new, decoded)
    };
    let labels = labels(&parameter("name"), &parameter("spyName"))?;
    let is_form = request
        .header("content-type")
        .starts_with("multipart/form-data");
    let raw_profile = match parameter("format").as_str() {
        _ if is_form => field(request, "profile")?,
        "pprof" => request.body.clone(),
        "" | "folded" | "groups" | "lines" => lines(
            &request.body,
            parameter("sampleRate").parse().unwrap_or(100),
        ),
        format => {
            let words = format!("a stand-in takes no {format}");
            return Err(Refusal::unimplemented(words));
        }
    };
    let series = RawProfileSeries {
        labels,
        samples: vec![RawSample {
            raw_profile,
            id: String::new(),
        }],
    };
    let push = PushRequest {
        series: vec![series],
    };
    // What a push may not be is 422 here, but for what is too much.
    store(state, &push, Duration::ZERO).map_err(|refusal| match refusal.status {
        429 => refusal,
        _ => Refusal {
            status: 422,
            ..refusal
        },
    })
}

/// The labels of `app{name=value,…}`.
fn labels(name: &str, spy: &str) -> Result<Vec<LabelPair>, Refusal> {
    let (app, more) = name.split_once('{').unwrap_or((name, "}"));
    let more = more
        .strip_suffix('}')
        .filter(|_| !app.is_empty())
        .ok_or_else(|| Refusal::invalid(format!("invalid name: {name:?}")))?;
    let spy = if spy.is_empty() { "unknown" } else { spy };
    let own = [
        ("__name__", "process_cpu"),
        ("__delta__", "false"),
        ("service_name", app),
        ("pyroscope_spy", spy),
    ];
    let more = more.split(',').filter_map(|it| it.split_once('='));
    let more = more.filter(|(name, _)| !name.starts_with("__"));
    let all = own.into_iter().chain(more).map(|(name, value)| LabelPair {
        name: name.to_owned(),
        value: value.to_owned(),
    });
    Ok(all.collect())
}

/// A text of a URL without its escapes.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|it| str::from_utf8(it).ok());
        let escaped = digits.and_then(|it| u8::from_str_radix(it, 16).ok());
        (bytes, rest) = match (first, escaped) {
            (b'%', Some(byte)) => (
                [bytes, vec![byte]].concat(),
                after.get(2..).unwrap_or_default(),
            ),
            (b'+', _) => ([bytes, vec![b' ']].concat(), after),
            (byte, _) => ([bytes, vec![*byte]].concat(), after),
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A field of a form.
fn field(request: &Request, name: &str) -> Result<Vec<u8>, Refusal> {
    let boundary = request.header("content-type").split("boundary=").nth(1);
    let boundary = format!("--{}", boundary.unwrap_or_default().trim_matches('"'));
    let starts: Vec<_> = memmem::find_iter(&request.body, &boundary).collect();
    let mut parts = starts
        .windows(2)
        .filter_map(|ends| request.body.get(*ends.first()?..*ends.last()?));
    let found = parts.find_map(|part| {
        let end = memmem::find(part, b"\r\n\r\n")?;
        let head = String::from_utf8_lossy(part.get(..end)?).into_owned();
        let body = part.get(end + 4..)?.strip_suffix(b"\r\n")?;
        head.contains(&format!("name=\"{name}\""))
            .then(|| body.to_vec())
    });
    found.ok_or_else(|| Refusal::invalid(format!("no field {name}")))
}

/// A profile of lines `root;…;leaf count`.
fn lines(body: &[u8], rate: i64) -> Vec<u8> {
    let cpu = ValueType { r#type: 1, unit: 2 };
    let mut profile = Profile {
        sample_type: vec![cpu],
        period_type: Some(cpu),
        period: 1_000_000_000 / rate.max(1),
        string_table: ["", "cpu", "nanoseconds"].map(str::to_owned).to_vec(),
        mapping: vec![Mapping {
            id: 1,
            has_functions: true,
            ..Mapping::default()
        }],
        ..Profile::default()
    };
    for line in String::from_utf8_lossy(body).lines() {
        let Some((stack, count)) = line.rsplit_once(' ') else {
            continue;
        };
        let ids = stack.split(';').rev().map(|name| frame(&mut profile, name));
        let location_id = ids.collect();
        let value = vec![
            count
                .parse::<i64>()
                .unwrap_or(0)
                .saturating_mul(profile.period),
        ];
        profile.sample.push(Sample {
            location_id,
            value,
            label: Vec::new(),
        });
    }
    profile.encode_to_vec()
}

fn frame(profile: &mut Profile, name: &str) -> u64 {
    let id = u64::try_from(profile.function.len() + 1).unwrap_or(0);
    profile.function.push(Function {
        id,
        name: i64::try_from(profile.string_table.len()).unwrap_or(0),
        ..Function::default()
    });
    profile.string_table.push(name.to_owned());
    profile.location.push(Location {
        id,
        mapping_id: 1,
        address: 0,
        line: vec![Line {
            function_id: id,
            line: 0,
        }],
    });
    id
}

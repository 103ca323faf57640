//! The pretend Pyroscope itself, by vectors taken from the real one's source.

mod facilities;
mod refusals;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use profiler::{
    export::proto::{LabelPair, PushRequest, RawProfileSeries, RawSample},
    profile::proto::{Function, Label, Line, Location, Mapping, Profile, Sample, ValueType},
    time::UnixNanos,
};
use prost::Message as _;
use tests::pretend_pyroscope::PretendPyroscope;

/// Strings 1 to 5, after them a key and value for each label of the one sample.
fn profile(labels: &[(&str, &str)]) -> Profile {
    let mut string_table: Vec<String> = ["", "cpu", "nanoseconds", "work", "app.py", "python"]
        .map(str::to_owned)
        .to_vec();
    let mut label = Vec::new();
    for (key, value) in labels {
        let index = i64::try_from(string_table.len()).unwrap();
        label.push(Label {
            key: index,
            str: index + 1,
            num: 0,
        });
        string_table.extend([(*key).to_owned(), (*value).to_owned()]);
    }
    let cpu = ValueType { r#type: 1, unit: 2 };
    Profile {
        sample_type: vec![cpu],
        sample: vec![Sample {
            location_id: vec![1],
            value: vec![10],
            label,
        }],
        mapping: vec![Mapping {
            id: 1,
            filename: 5,
            has_functions: true,
            ..Mapping::default()
        }],
        location: vec![Location {
            id: 1,
            mapping_id: 1,
            address: 0,
            line: vec![Line {
                function_id: 1,
                line: 1,
            }],
        }],
        function: vec![Function {
            id: 1,
            name: 3,
            filename: 4,
            ..Function::default()
        }],
        string_table,
        time_nanos: i64::try_from(UnixNanos::now().0).unwrap(),
        period_type: Some(cpu),
        period: 10,
        ..Profile::default()
    }
}

fn post(server: &PretendPyroscope, path: &str, content_type: &str, body: &[u8]) -> (u16, String) {
    let url = server.url();
    let host = url.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    let length = body.len();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    )
    .unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    (answer[9..12].parse().unwrap(), answer)
}

const PUSH: &str = "/push.v1.PusherService/Push";
/// Labels without which no series is taken.
const SERIES: [(&str, &str); 2] = [("__name__", "process_cpu"), ("service_name", "rt")];

fn push_series(
    server: &PretendPyroscope,
    labels: &[(&str, &str)],
    raw_profile: Vec<u8>,
) -> (u16, String) {
    let labels = labels.iter().map(|(name, value)| LabelPair {
        name: (*name).to_owned(),
        value: (*value).to_owned(),
    });
    let request = PushRequest {
        series: vec![RawProfileSeries {
            labels: labels.collect(),
            samples: vec![RawSample {
                raw_profile,
                id: String::new(),
            }],
        }],
    };
    post(server, PUSH, "application/proto", &request.encode_to_vec())
}

fn push_raw(server: &PretendPyroscope, raw_profile: Vec<u8>) -> (u16, String) {
    push_series(server, &SERIES, raw_profile)
}

fn push(server: &PretendPyroscope, profile: &Profile) -> (u16, String) {
    push_raw(server, profile.encode_to_vec())
}

/// Span ids of the wrong length are dropped, upper case becomes lower, `profile_id` is an alias, and
/// any other label joins the series.
#[test]
fn span_ids() {
    for (labels, span) in [
        (&[("span_id", "abc")][..], None),
        (&[("span_id", "0000000000000000")], None),
        (&[("span_id", "00F067AA0BA902B7")], Some("00f067aa0ba902b7")),
        (
            &[("profile_id", "00f067aa0ba902b7")],
            Some("00f067aa0ba902b7"),
        ),
        (&[("span_name", "GET /")], None),
    ] {
        let server = PretendPyroscope::start();
        assert_eq!(push(&server, &profile(labels)).0, 200);
        let stored = server.profiles();
        assert_eq!(stored[0].samples[0].span_id.as_deref(), span);
        let name = labels[0].0 == "span_name";
        assert_eq!(stored[0].label("span_name").is_some(), name);
    }
}

/// Of two span ids the second wins. A numeric label and a sample of value 0 are dropped.
#[test]
fn normalisation() {
    let server = PretendPyroscope::start();
    let ids = ["000000000000000a", "000000000000000b"];
    let mut message = profile(&[("span_id", ids[0]), ("span_id", ids[1])]);
    let mut zero = message.sample[0].clone();
    zero.value = vec![0];
    message.sample.push(zero);
    message.sample[0].label.push(Label {
        key: 3,
        str: 0,
        num: 7,
    });
    push(&server, &message);
    let of = |id| server.select_merge_span_profile("rt", &[id]).len();
    assert_eq!((of(ids[0]), of(ids[1])), (0, 1));
    assert_eq!(server.profiles()[0].samples.len(), 1);
    assert_eq!(server.profiles()[0].label("work"), None);
}

/// A mapping without functions is stored and flagged.
#[test]
fn unsymbolized_is_flagged() {
    let server = PretendPyroscope::start();
    let mut message = profile(&[]);
    message.mapping[0].has_functions = false;
    assert_eq!(push(&server, &message).0, 200);
    assert!(server.unsymbolized());
}

/// Grafana's query in JSON gives the span's flame graph; a selector of the wrong length is refused.
#[test]
fn query() {
    let server = PretendPyroscope::start();
    push(&server, &profile(&[("span_id", "00f067aa0ba902b7")]));
    let select = |span: &str| {
        let body = serde_json::json!({
            "profileTypeID": "process_cpu:cpu:nanoseconds:cpu:nanoseconds",
            "labelSelector": "{service_name=\"rt\"}", "spanSelector": [span], "start": 1, "end": i64::MAX.to_string(),
        });
        let path = "/querier.v1.QuerierService/SelectMergeSpanProfile";
        post(
            &server,
            path,
            "application/json",
            body.to_string().as_bytes(),
        )
    };
    let (status, answer) = select("00f067aa0ba902b7");
    assert_eq!(status, 200);
    assert!(answer.contains(r#""names":["total","work"]"#), "{answer}");
    assert!(answer.contains(r#""total":"10""#), "{answer}");
    assert!(!select("00f067aa0ba902b8").1.contains(r#""total":"#));
    assert_eq!(select("abc").0, 500);
}

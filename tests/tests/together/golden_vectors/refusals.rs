//! What the real server refuses, and what it drops in silence.

use std::{thread, time::Duration};

use profiler::profile::proto::{Label, Profile};
use prost::Message as _;
use tests::pretend_pyroscope::PretendPyroscope;

use super::{PUSH, SERIES, post, profile, push, push_raw, push_series};

/// A change that breaks one rule.
type Change = fn(&mut Profile);

/// What a profile may not be: the change, the status, and the server's words.
const REFUSED: [(Change, u16, &str); 17] = [
    (|it| it.time_nanos -= 7_200_000_000_000, 400, "window"),
    (|it| it.time_nanos += 1_200_000_000_000, 400, "window"),
    (
        |it| it.string_table.push("x".repeat(2_200_000)),
        429,
        "rate limit",
    ),
    (
        |it| it.sample = vec![it.sample[0].clone(); 16_001],
        400,
        "exceeds the samples count limit",
    ),
    (
        |it| it.string_table[0].push('x'),
        400,
        "string 0 should be empty string",
    ),
    (|it| it.location[0].id = 0, 400, "location id is 0"),
    (|it| it.function[0].id = 0, 400, "function id is 0"),
    (|it| it.sample_type.clear(), 400, "empty profile"),
    (
        |it| it.sample_type[0].r#type = 99,
        400,
        "sample type type string index",
    ),
    (
        |it| it.string_table[1].insert(1, '-'),
        400,
        "sample type contains -",
    ),
    (
        |it| it.sample[0].value.push(1),
        400,
        "sample value length mismatch",
    ),
    (
        |it| it.sample[0].label = vec![Label::default(); 101],
        400,
        "exceeds the sample labels limit",
    ),
    (
        |it| {
            it.sample[0].label.push(Label {
                key: 99,
                str: 3,
                num: 0,
            });
        },
        400,
        "sample label string index",
    ),
    (
        |it| it.function[0].name = 99,
        400,
        "function name string index out of range",
    ),
    (|it| it.function[0].filename = 99, 400, "function file name"),
    (|it| it.mapping[0].build_id = 99, 400, "mapping build id"),
    (
        |it| (it.period_type, it.sample[0].value[0]) = (None, 0),
        500,
        "invalid memory",
    ),
];

/// Each rule of a profile broken alone is refused with its status and in its words, and nothing is stored.
#[test]
fn refusals() {
    let server = PretendPyroscope::start();
    for (change, status, words) in REFUSED {
        let mut message = profile(&[]);
        change(&mut message);
        assert_eq!(push(&server, &message).0, status, "{words}");
        let refusal = server.refusals().pop().unwrap();
        assert!(refusal.message.contains(words), "{words}: {refusal:?}");
    }
    // A string that is no UTF-8.
    let mut bytes = profile(&[]).encode_to_vec();
    let place = bytes.windows(6).position(|it| it == b"app.py").unwrap();
    bytes[place] = 0xff;
    assert_eq!(push_raw(&server, bytes).0, 400);
    let refusals = server.refusals();
    assert_eq!(refusals.len(), REFUSED.len() + 1);
    let last = &refusals[REFUSED.len()].message;
    assert_eq!(last, "invalid utf8 string hex: ff70702e7079");
    assert_eq!(server.profiles(), []);
}

/// So is each rule of a series and of a request.
#[test]
fn refused_series() {
    let server = PretendPyroscope::start();
    let refused = |labels: &[(&str, &str)], words: &str| {
        let all = [&SERIES[..], labels].concat();
        let status = push_series(&server, &all, profile(&[]).encode_to_vec()).0;
        assert_eq!(status, 400, "{words}");
        let refusal = server.refusals().pop().unwrap();
        assert!(refusal.message.contains(words), "{words}: {refusal:?}");
    };
    let names: Vec<String> = (0..29).map(|number| format!("label_{number}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
    refused(&many, "31 label names; limit 30");
    refused(
        &[("region", "eu"), ("region", "us")],
        "duplicate label name: 'region'",
    );
    refused(&[(&"x".repeat(1_025), "x")], "label name too long");
    refused(&[("region", &"x".repeat(2_049))], "label value too long");
    let bytes = || profile(&[]).encode_to_vec();
    assert_eq!(push_series(&server, &SERIES[1..], bytes()).0, 400);
    let nameless = [SERIES[0], ("service_name", "")];
    assert_eq!(push_series(&server, &nameless, bytes()).0, 400);
    // Labels of samples become labels of the series.
    assert_eq!(push(&server, &profile(&many)).0, 400);
    assert_eq!(post(&server, PUSH, "text/plain", b"").0, 415);
    assert_eq!(post(&server, PUSH, "application/proto", b"\xff").0, 400);
    assert_eq!(post(&server, "/nothing", "application/proto", b"").0, 404);
    assert_eq!(server.profiles(), []);
    // A service without a name has one.
    assert_eq!(push_series(&server, &SERIES[..1], bytes()).0, 200);
    assert_eq!(server.total("unknown_service"), 10);
}

/// More series than the server keeps of a tenant are refused; those it has it takes on.
#[test]
fn too_many_series() {
    let server = PretendPyroscope::start();
    let mut message = profile(&[]);
    message.string_table.push("user".to_owned());
    let sample = message.sample.remove(0);
    for number in 0..4_999 {
        let mut sample = sample.clone();
        let str = i64::try_from(message.string_table.len()).unwrap();
        sample.label = vec![Label {
            key: 6,
            str,
            num: 0,
        }];
        message.sample.push(sample);
        message.string_table.push(number.to_string());
    }
    for _ in 0..2 {
        assert_eq!(push(&server, &message).0, 200);
    }
    assert_eq!(push(&server, &profile(&[("user", "a")])).0, 200);
    assert_eq!(push(&server, &profile(&[("user", "b")])).0, 429);
}

/// What the server drops in silence: the leaf's side of a deep stack, the head of a long string, and samples
/// whose locations refer to nothing.
#[test]
fn losses_in_silence() {
    let server = PretendPyroscope::start();
    let mut deep = profile(&[]);
    deep.string_table
        .push(format!("leaf{}", "x".repeat(65_535)));
    let mut leaf = deep.function[0];
    (leaf.id, leaf.name) = (2, 6);
    deep.function.push(leaf);
    let mut at_leaf = deep.location[0].clone();
    at_leaf.id = 2;
    at_leaf.line[0].function_id = 2;
    deep.location.push(at_leaf);
    deep.sample[0].location_id = [vec![2; 2], vec![1; 999]].concat();
    assert_eq!(push(&server, &deep).0, 200);
    let stack = server.profiles()[0].samples[0].stack.clone();
    assert_eq!((stack.len(), stack[1].as_str()), (1_000, "work"));
    assert_eq!(stack[0], "x".repeat(65_535));
    let changes: [Change; 4] = [
        |it| it.location[0].line.clear(),
        |it| it.location[0].mapping_id = 7,
        |it| it.location[0].line[0].function_id = 7,
        |it| it.sample[0].location_id[0] = 7,
    ];
    for change in changes {
        let mut message = profile(&[]);
        change(&mut message);
        assert_eq!(push(&server, &message).0, 200);
    }
    assert_eq!(server.total("rt"), 10);
}

/// More bytes than the server takes at once wait for their turn; a refused push takes nobody's.
#[test]
fn too_fast() {
    let server = PretendPyroscope::start();
    server.limit_rate();
    let mut large = profile(&[]);
    large.string_table.push("x".repeat(1_500_000));
    assert_eq!(push(&server, &large).0, 200);
    assert_eq!(push(&server, &large).0, 429);
    assert_eq!(push(&server, &profile(&[])).0, 200);
    thread::sleep(Duration::from_millis(600));
    assert_eq!(push(&server, &large).0, 200);
}

/// With tenants a push must name one.
#[test]
fn no_tenant() {
    let server = PretendPyroscope::start();
    server.require_tenants();
    assert_eq!(push(&server, &profile(&[])).0, 401);
    assert_eq!(server.profiles(), []);
}

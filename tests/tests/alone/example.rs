//! The complete example: the click that it promises, step by step, from traces that came by a real Collector.

use std::{env, fs, path::PathBuf};

use serde_json::json;
use tests::{
    example::{Clicked, Example, Programs},
    grafana::{FlameGraph, Provisioned, WIDEST},
    process::eventually,
    python::program,
    spanprof,
    traces::Span,
};

/// The folder of the example.
fn folder() -> PathBuf {
    program("").join("../../examples/grafana")
}

/// What the example is made of, as `cargo xtask test` has prepared it.
fn programs() -> Option<Programs> {
    let (python, collector) = (
        env::var_os("SPANPROF_EXAMPLE"),
        env::var_os("SPANPROF_COLLECTOR"),
    );
    let (Some(python), Some(collector)) = (python, collector) else {
        tests::skip("SPANPROF_EXAMPLE or SPANPROF_COLLECTOR is not there: run `cargo xtask test`");
        return None;
    };
    Some(Programs {
        folder: folder(),
        python: python.into(),
        collector: collector.into(),
    })
}

/// CPU time may be measured a little longer than the span: each sample stands for a whole period.
fn is_within(clicked: &Clicked) -> bool {
    const PERIOD: i64 = 1_000_000_000 / 99;
    let Span { start, end, .. } = clicked.span;
    clicked.flame_graph.total <= end - start + 2 * PERIOD
}

#[test]
fn from_a_trace_to_the_flame_graph_of_a_span() {
    let Some(programs) = programs() else {
        return;
    };
    if !spanprof::is_ready() {
        return;
    }
    let example = Example::start(&programs, |pyroscope| {
        let mut agent =
            spanprof::command(&["--log", "info", "agent", "--pyroscope-url", pyroscope]);
        agent.args(["--upload-interval", "2s"]);
        agent
    })
    .unwrap();
    let of_shop = example
        .click("shop", "GET /order/{customer}", "price_cart")
        .unwrap();
    eprintln!("{}\n{}", of_shop.request, of_shop.flame_graph.draw());
    assert!(!of_shop.flame_graph.has("forecast"), "{of_shop:?}");
    assert!(!of_shop.flame_graph.has("rank"), "{of_shop:?}");
    assert!(is_within(&of_shop), "{of_shop:?}");
    let of_warehouse = example
        .click("warehouse", "GET /stock/{item}", "smooth")
        .unwrap();
    assert!(
        !of_warehouse.flame_graph.has("price_cart"),
        "{of_warehouse:?}"
    );
    assert!(is_within(&of_warehouse), "{of_warehouse:?}");

    // A trace goes through both services, and Grafana's link is on the local root of each. Each service exports for
    // itself, some seconds after the end of a span.
    let linked = || {
        let mut spans = example.tempo.spans();
        spans.retain(|it| it.trace_id == of_shop.span.trace_id);
        spans.retain(|it| it.attributes.contains_key("pyroscope.profile.id"));
        let services = spans.into_iter();
        let mut services: Vec<String> = services
            .map(|it| it.attributes["service.name"].clone())
            .collect();
        services.sort_unstable();
        services
    };
    let expected = ["shop", "warehouse", "warehouse", "warehouse"];
    eventually("all spans of the trace", || {
        (linked().len() >= expected.len()).then_some(())
    });
    assert_eq!(linked(), expected);
    let spans = example.tempo.spans();

    // A span that has no link, and one that Pyroscope does not know.
    let inner = spans
        .iter()
        .find(|it| it.name.ends_with("http send"))
        .unwrap();
    assert!(example.click_on(inner).unwrap().is_none());
    let mut unknown = of_shop.span.clone();
    let id = "pyroscope.profile.id".to_owned();
    unknown.attributes.insert(id, "0123456789abcdef".to_owned());
    let nothing = example.click_on(&unknown).unwrap().unwrap();
    assert_eq!(nothing.flame_graph.total, 0, "{nothing:?}");
}

/// What Grafana does with the link's fields, without anything running.
#[test]
fn what_a_click_asks_for() {
    let datasources = fs::read_to_string(folder().join("grafana/datasources.yaml")).unwrap();
    let link = Provisioned::parse(&datasources).unwrap();
    let attributes = [
        ("service.name", "shop"),
        ("pyroscope.profile.id", "00f067aa0ba902b7"),
    ];
    let mut span = Span {
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".to_owned(),
        span_id: "00f067aa0ba902b7".to_owned(),
        parent_span_id: String::new(),
        name: "GET /".to_owned(),
        start: 1_700_000_100_000_000_000,
        end: 1_700_000_100_500_000_000,
        attributes: attributes
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
    };
    let request = link.click(&span).unwrap();
    let expected = json!({
        "profileTypeID": "process_cpu:cpu:nanoseconds:cpu:nanoseconds",
        "labelSelector": "{service_name=\"shop\"}",
        "spanSelector": ["00f067aa0ba902b7"],
        "start": "1700000070000",
        "end": "1700000130500",
    });
    assert_eq!(request, expected);
    span.attributes.remove("pyroscope.profile.id");
    assert_eq!(link.click(&span), None);
    assert!(Provisioned::parse(&datasources.replace("profileTypeId", "profileType")).is_err());
}

/// As Pyroscope answers: `main` calls `a` and `b` of a third and two thirds, and `b` leads to `g`, which is all
/// of it.
fn graph() -> FlameGraph {
    let level =
        |values: &[i64]| json!({ "values": values.iter().map(i64::to_string).collect::<Vec<_>>() });
    let mut levels = vec![
        level(&[0, 30_000_000, 0, 0]),
        level(&[0, 30_000_000, 0, 1]),
        level(&[0, 10_000_000, 10_000_000, 2, 0, 20_000_000, 0, 3]),
    ];
    levels.extend((4..9).map(|name| level(&[10_000_000, 20_000_000, 0, name])));
    let names = ["total", "main", "a", "b", "c", "d", "e", "f", "g"];
    let answer = json!({"flamegraph": {"names": names, "levels": levels, "total": "30000000"}});
    FlameGraph::of(&answer).unwrap()
}

#[test]
fn callers_come_before_what_they_call() {
    let names: Vec<_> = graph()
        .frames
        .into_iter()
        .map(|(depth, name, _)| (depth, name))
        .take(5)
        .collect();
    let expected = [(0, "total"), (1, "main"), (2, "a"), (2, "b"), (3, "c")];
    assert_eq!(
        names,
        expected.map(|(depth, name)| (depth, name.to_owned()))
    );
}

#[test]
fn functions_that_only_call_are_counted() {
    let drawn = graph().draw();
    let words: Vec<String> = drawn
        .replace('█', "")
        .lines()
        .map(|line| {
            line.split_whitespace()
                .skip(2)
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert_eq!(
        words,
        ["total", "main", "a", "… 3 callers … e", "f", "g"],
        "{drawn}"
    );
    let indents: Vec<usize> = drawn
        .lines()
        .map(|line| {
            line.chars()
                .skip(11 + WIDEST)
                .take_while(|it| *it == ' ')
                .count()
        })
        .collect();
    assert_eq!(indents, [2, 4, 6, 6, 8, 10], "{drawn}");
}

//! The complete example on this machine alone: from a trace to the flame graph of a span.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool: stdout carries results, stderr what it is doing"
)]

use std::process::{Command, ExitCode};

use anyhow::{Error, Result};
use clap::Parser as _;
use tests::example::{Clicked, Example, Programs};
use xtask::command::{self, say};
use xtask::example::{Prepared, prepare};

/// Run a shop with traces and profiles, and show the flame graph of a span
///
/// Starts two services under load, a real OpenTelemetry Collector and the agent; stand-ins take the place of Tempo
/// and Pyroscope. Then it does what Grafana does when a user clicks on "Profiles for this span", and prints the
/// trace, the span and its flame graph. The agent needs root: sudo is asked if you are not.
#[derive(clap::Parser)]
#[command(
    name = "cargo xtask example",
    bin_name = "cargo xtask example",
    max_term_width = 80
)]
struct Arguments {}

/// What the user would click on: the service, the span, and a function that it runs.
const CLICKS: [(&str, &str, &str); 2] = [
    ("shop", "GET /order/{customer}", "price_cart"),
    ("warehouse", "GET /stock/{item}", "smooth"),
];

fn main() -> ExitCode {
    let Arguments {} = Arguments::parse();
    xtask::finish(run())
}

fn run() -> Result<()> {
    let Prepared {
        agent,
        python,
        collector,
        folder,
    } = prepare()?;
    // Asked for before anything runs, because the example needs it.
    let mut privileged = command::privileged(&agent, &[], "profiling with spanprof")?;
    let programs = Programs {
        folder,
        python,
        collector,
    };
    let example = Example::start(&programs, |pyroscope| {
        privileged.args(["--log", "info", "agent", "--upload-interval", "5s"]);
        privileged.args(["--pyroscope-url", pyroscope]);
        std::mem::replace(&mut privileged, Command::new("true"))
    })
    .map_err(Error::msg)?;
    say(&format!(
        "the shop is at {}; customers are in it",
        example.shop
    ));
    say("waiting for a span whose profile has arrived: about ten seconds");
    for (service, name, function) in CLICKS {
        let clicked = example.click(service, name, function).map_err(Error::msg)?;
        explain(service, &clicked);
    }
    Ok(())
}

fn explain(service: &str, clicked: &Clicked) {
    let Clicked {
        span,
        request,
        flame_graph,
    } = clicked;
    let milliseconds = |nanoseconds: i64| nanoseconds / 1_000_000;
    println!("\ntrace     {}", span.trace_id);
    println!("span      {} {} of {service}", span.span_id, span.name);
    println!(
        "          {} ms, of these {} ms of CPU",
        milliseconds(span.end - span.start),
        milliseconds(flame_graph.total)
    );
    println!("request   POST /querier.v1.QuerierService/SelectMergeSpanProfile");
    println!("          {request}");
    println!("\n{}", flame_graph.draw());
}

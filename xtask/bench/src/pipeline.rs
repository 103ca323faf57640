//! How many samples a second one core can process, from the ring's bytes to a profile's bytes.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::Bench;
use crate::report::{Figure, Report};
use crate::workload::numbers;
use xtask::command;
use xtask::workspace::cargo_program;

/// The measurements: criterion's name, our name, and the bar in thousands a second.
const CASES: [(&str, &str, Option<f64>); 5] = [
    ("warm", "500 stacks, again and again", Some(500.0)),
    ("unique", "no stack twice", Some(50.0)),
    ("decode", "of those 500 stacks: decode", None),
    ("take", "  join, symbolize, sum", None),
    ("encode", "  encode", None),
];

pub(crate) fn measure(bench: &Bench) -> Result<Report> {
    let mut cargo = Command::new(cargo_program());
    cargo
        .current_dir(&bench.workspace.root)
        .args([
            "bench",
            "--quiet",
            "--package",
            "profiler",
            "--bench",
            "pipeline",
            "--",
        ])
        .arg("--noplot");
    if bench.quick {
        cargo.args(["--measurement-time", "1", "--sample-size", "10"]);
    }
    command::run(&mut cargo)?;
    let mut figures = Vec::new();
    for (case, name, bar) in CASES {
        let folder = bench.workspace.target.join("criterion/pipeline").join(case);
        let rates = rates(&folder.join("new"))?;
        let figure = Figure::new(name, "thousand samples/s", rates);
        figures.push(match bar {
            Some(bar) => figure.above(bar),
            None => figure,
        });
    }
    Ok(Report {
        name: "pipeline",
        figures,
        notes: vec![
            "one thread, from records as they come off the ring to an encoded profile: decode, join, \
             symbolize, sum, encode; 20 000 samples a round, of 30 Python frames over 8 native ones in 50 \
             requests (`profiler/benches/pipeline.rs`); names are known from a window before"
                .to_owned(),
        ],
    })
}

/// Thousands of samples a second, one value per round, from criterion's files.
fn rates(folder: &Path) -> Result<Vec<f64>> {
    let read = |name: &str| -> Result<Value> {
        let path = folder.join(name);
        let text = crate::host::read(&path)?;
        serde_json::from_str(&text).with_context(|| format!("failed to parse {}", path.display()))
    };
    let (rounds, description) = (read("sample.json")?, read("benchmark.json")?);
    let list = |name: &str| rounds.get(name).map(numbers).unwrap_or_default();
    let samples = description
        .pointer("/throughput/Elements")
        .and_then(Value::as_f64)
        .context("criterion names no throughput")?;
    // Nanoseconds for this number of iterations.
    let rates = list("iters").into_iter().zip(list("times"));
    Ok(rates
        .map(|(iterations, nanoseconds)| 1e6 * samples * iterations / nanoseconds)
        .collect())
}

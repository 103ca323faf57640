//! The parts of a pprof file that benchmarks need; field numbers are those of pprof's `profile.proto`.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use flate2::read::GzDecoder;
use prost::Message;

#[derive(Message)]
struct Profile {
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    string_table: Vec<String>,
    #[prost(int64, tag = "12")]
    period: i64,
}

#[derive(Message)]
struct Sample {
    #[prost(uint64, repeated, tag = "1")]
    location_id: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    value: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    label: Vec<Label>,
}

#[derive(Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    text: i64,
}

#[derive(Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(message, repeated, tag = "4")]
    line: Vec<Line>,
}

#[derive(Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function_id: u64,
}

#[derive(Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
}

/// Samples of one stack with one set of labels.
pub(crate) struct Row {
    /// Functions, leaf first.
    pub(crate) functions: Vec<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) samples: f64,
    /// Their CPU time.
    pub(crate) seconds: f64,
}

/// Reads a `.pb.gz` file.
pub(crate) fn read(path: &Path) -> Result<Vec<Row>> {
    std::fs::read(path)
        .context("cannot be opened")
        .and_then(|bytes| parse(&bytes))
        .with_context(|| format!("failed to read {}", path.display()))
}

/// Bytes as they are, or unpacked if they are packed with gzip.
pub(crate) fn unpacked(bytes: &[u8]) -> Result<Vec<u8>> {
    const MAGIC: [u8; 2] = [0x1f, 0x8b];
    if !bytes.starts_with(&MAGIC) {
        return Ok(bytes.to_vec());
    }
    let mut unpacked = Vec::new();
    GzDecoder::new(bytes)
        .read_to_end(&mut unpacked)
        .context("its compression is broken")?;
    Ok(unpacked)
}

/// Reads a profile, packed or not.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Row>> {
    let bytes = unpacked(bytes)?;
    let profile = Profile::decode(bytes.as_slice()).context("it is no pprof file")?;
    let text = |index: i64| {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        profile.string_table.get(index).cloned().unwrap_or_default()
    };
    let functions = profile.function.iter();
    let functions: HashMap<u64, String> = functions.map(|it| (it.id, text(it.name))).collect();
    let name = |location: &Location| {
        let line = location.line.first()?;
        functions.get(&line.function_id).cloned()
    };
    let locations = profile.location.iter();
    let locations: HashMap<u64, String> = locations
        .filter_map(|it| Some((it.id, name(it)?)))
        .collect();
    let row = |sample: &Sample| {
        let value = sample.value.first().copied().unwrap_or(0);
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2⁵²")]
        let [samples, nanoseconds] = [(value / profile.period.max(1)) as f64, value as f64];
        let frames = sample.location_id.iter();
        let labels = sample.label.iter();
        Row {
            functions: frames.filter_map(|id| locations.get(id).cloned()).collect(),
            labels: labels.map(|it| (text(it.key), text(it.text))).collect(),
            samples,
            seconds: nanoseconds / 1e9,
        }
    };
    Ok(profile.sample.iter().map(row).collect())
}

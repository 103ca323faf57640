//! A pprof file as rows.

#![expect(
    clippy::missing_panics_doc,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a file that cannot be read fails the test"
)]

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::Read as _,
    path::Path,
};

use flate2::read::GzDecoder;
use profiler::profile::proto;
use prost::Message as _;

/// All samples of a file.
#[derive(Debug)]
pub struct Profile {
    /// Nanoseconds of CPU time one sample stands for.
    pub period: i64,
    /// Stacks with labels.
    pub rows: Vec<Row>,
}

/// A stack with labels.
#[derive(Clone, Debug)]
pub struct Row {
    /// Function names, leaf first.
    pub stack: Vec<String>,
    /// The same frames with files and lines.
    pub frames: Vec<Frame>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// CPU time.
    pub nanoseconds: i64,
}

/// One frame of a stack.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The function's name.
    pub name: String,
    /// Its file, empty if that is not known.
    pub file: String,
    /// The line, 0 if that is not known.
    pub line: i64,
    /// The mapped file its code is in.
    pub mapping: String,
}

impl Row {
    /// A label's value, empty if there is none.
    pub fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }

    /// Whether a function of this name is on the stack.
    pub fn is_in(&self, function: &str) -> bool {
        self.stack.iter().any(|frame| frame == function)
    }
}

impl Profile {
    /// Reads a `.pb.gz`.
    pub fn read(path: &Path) -> Self {
        let compressed = fs::read(path).expect("the profile was written");
        let mut bytes = Vec::new();
        GzDecoder::new(compressed.as_slice())
            .read_to_end(&mut bytes)
            .expect("gzip");
        let message = proto::Profile::decode(bytes.as_slice()).expect("pprof");
        let text = |index: i64| {
            let index = usize::try_from(index).expect("not negative");
            message.string_table[index].clone()
        };
        let functions: HashMap<u64, (String, String)> = message
            .function
            .iter()
            .map(|function| (function.id, (text(function.name), text(function.filename))))
            .collect();
        let mappings: HashMap<u64, String> = message
            .mapping
            .iter()
            .map(|mapping| (mapping.id, text(mapping.filename)))
            .collect();
        let locations: HashMap<u64, Frame> = message
            .location
            .iter()
            .map(|location| {
                let line = location.line[0];
                let (name, file) = functions[&line.function_id].clone();
                let frame = Frame {
                    name,
                    file,
                    line: line.line,
                    mapping: mappings[&location.mapping_id].clone(),
                };
                (location.id, frame)
            })
            .collect();
        let frames = |sample: &proto::Sample| -> Vec<Frame> {
            let ids = sample.location_id.iter();
            ids.map(|id| locations[id].clone()).collect()
        };
        let row = |sample: &proto::Sample| Row {
            stack: frames(sample).into_iter().map(|frame| frame.name).collect(),
            frames: frames(sample),
            labels: sample
                .label
                .iter()
                .map(|label| (text(label.key), text(label.str)))
                .collect(),
            nanoseconds: sample.value[0],
        };
        Self {
            period: message.period,
            rows: message.sample.iter().map(row).collect(),
        }
    }

    /// Rows with a function on their stack. There must be some, or the test would check nothing.
    pub fn rows_in(&self, function: &str) -> Vec<&Row> {
        let rows: Vec<_> = self.rows.iter().filter(|row| row.is_in(function)).collect();
        assert!(
            !rows.is_empty(),
            "no samples in {function}: {:#?}",
            self.totals()
        );
        rows
    }

    /// Samples with a function on their stack.
    pub fn samples_in(&self, function: &str) -> i64 {
        let rows = self.rows.iter().filter(|row| row.is_in(function));
        rows.map(|row| row.nanoseconds).sum::<i64>() / self.period
    }

    /// CPU time of such rows, in seconds.
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    pub fn seconds_of(&self, is_meant: impl Fn(&Row) -> bool) -> f64 {
        let rows = self.rows.iter().filter(|row| is_meant(row));
        rows.map(|row| row.nanoseconds).sum::<i64>() as f64 / 1e9
    }

    /// All samples.
    pub fn samples(&self) -> i64 {
        self.rows.iter().map(|row| row.nanoseconds).sum::<i64>() / self.period
    }

    /// CPU time by the value of a label, empty if it is missing.
    pub fn by_label(&self, name: &str) -> BTreeMap<String, i64> {
        let mut sums = BTreeMap::new();
        for row in &self.rows {
            *sums.entry(row.label(name).to_owned()).or_default() += row.nanoseconds;
        }
        sums
    }

    /// Samples by function, counting each stack once for each of its functions: for messages.
    pub fn totals(&self) -> BTreeMap<&str, i64> {
        let mut totals = BTreeMap::new();
        for row in &self.rows {
            let mut functions: Vec<&str> = row.stack.iter().map(String::as_str).collect();
            functions.sort_unstable();
            functions.dedup();
            for function in functions {
                *totals.entry(function).or_default() += row.nanoseconds / self.period;
            }
        }
        totals
    }
}

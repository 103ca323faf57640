//! The rows of `tests/data/pyroscope.toml`, as they are written.

use std::collections::BTreeMap;

use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    pub(super) row: Vec<Row>,
}

/// An input, and what the server makes of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    pub(super) name: String,
    /// `v1` or `v2`, if the answer is not the same with both.
    pub(super) storage: Option<String>,
    /// How the server must have been started, if not by its defaults.
    pub(super) setting: Option<Setting>,
    pub(super) step: Vec<Step>,
    /// All CPU that a query finds of the row's service in the end.
    pub(super) stored: Option<i64>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Setting {
    /// With `-auth.multitenancy-enabled`.
    Tenants,
    /// With no series yet.
    Fresh,
    /// Which is about to end.
    Stopping,
    /// Which writes a segment every 200 ms.
    Segments,
}

/// A request and its answer, or something to be done.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Step {
    pub(super) method: Option<String>,
    pub(super) path: Option<String>,
    pub(super) send: BTreeMap<String, String>,
    /// The series of a push.
    pub(super) push: Option<Vec<Series>>,
    /// Whether the push is JSON, with field names as they are in JSON or as they are in the schema.
    pub(super) json: Option<Names>,
    /// The profile that is the whole body.
    pub(super) profile: Option<Profile>,
    /// A body as it is.
    pub(super) text: Option<String>,
    pub(super) gzip: bool,
    /// Bytes that are missing at the end of the body.
    pub(super) cut: usize,
    /// The name of a query, and its fields beside those that every query has.
    pub(super) query: Option<String>,
    pub(super) ask: toml::Table,
    /// Fields of every query that this one has not.
    pub(super) without: Vec<String>,
    /// The storage is compacted before the request.
    pub(super) compact: bool,

    pub(super) status: u16,
    /// Connect's code of the error.
    pub(super) code: Option<String>,
    /// Part of the error's words.
    pub(super) words: Option<String>,
    /// Exactly one of these is part of the error's words.
    pub(super) one_of: Vec<String>,
    pub(super) headers: BTreeMap<String, String>,
    /// The whole body; JSON is compared as JSON.
    pub(super) body: Option<String>,
    /// Bytes of the body as it comes.
    pub(super) length: Option<usize>,
    /// What the flame graph says it counts.
    pub(super) total: Option<i64>,
    /// Parts of the body; JSON has no blanks, and its keys are sorted.
    pub(super) has: Vec<String>,
    pub(super) lacks: Vec<String>,
    /// How long the answer takes at least, in milliseconds.
    pub(super) takes: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Names {
    CamelCase,
    SnakeCase,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Series {
    /// Beside `__name__` and `service_name`.
    pub(super) labels: Vec<(String, String)>,
    /// Names of labels that are left out.
    pub(super) without: Vec<String>,
    /// How many labels more, and how many bytes their names and values have.
    pub(super) more_labels: usize,
    pub(super) long_name: usize,
    pub(super) long_value: usize,
    /// How many times the series is there, each with another value of label `number`.
    pub(super) times: Option<usize>,
    pub(super) profiles: Option<Vec<Profile>>,
}

/// A profile: by default one sample of 10 ns in `work`, of now.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Profile {
    pub(super) samples: Option<Vec<Sample>>,
    /// As `cpu/nanoseconds`.
    pub(super) types: Option<Vec<String>>,
    /// The same; empty for none.
    pub(super) period: Option<String>,
    /// From the row's time, in seconds and nanoseconds.
    pub(super) seconds: i64,
    pub(super) nanos: i64,
    /// Since 1970, in its place.
    pub(super) time: Option<i64>,
    /// How many times the first sample is there.
    pub(super) times: Option<usize>,
    /// How many labels more the first sample has.
    pub(super) more_labels: usize,
    /// How many bytes an unused string has.
    pub(super) padding: usize,
    /// A change by its name, after all.
    pub(super) change: Option<Change>,
    pub(super) gzip: bool,
    /// Bytes that are missing at the end.
    pub(super) cut: usize,
    /// Bytes as they are, in the profile's place.
    pub(super) text: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sample {
    /// From the root to the leaf, with `;` between.
    pub(super) stack: String,
    pub(super) values: Vec<i64>,
    pub(super) labels: Vec<(String, String)>,
    /// Frames of `stack` more at the root's side.
    pub(super) deeper: usize,
    /// Bytes that the leaf's name has more at its start.
    pub(super) longer: usize,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            stack: "work".to_owned(),
            values: vec![10],
            labels: Vec::new(),
            deeper: 0,
            longer: 0,
        }
    }
}

/// What is wrong with a profile.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    FirstStringNotEmpty,
    LocationIdZero,
    FunctionIdZero,
    LocationUnknown,
    FunctionUnknown,
    MappingUnknown,
    LocationWithoutLines,
    NoSampleType,
    ValueTooMany,
    SampleTypeOutOfRange,
    LabelOutOfRange,
    LabelNegative,
    LabelIsNumber,
    FunctionNameOutOfRange,
    FunctionFileOutOfRange,
    MappingFileOutOfRange,
    NotUtf8,
}

//! What the server refuses, with its codes: `pkg/validation/{limits,validate}.go`,
//! `pkg/distributor/distributor.go` and `pkg/pprof/pprof.go` of grafana/pyroscope, default limits.

use std::{
    collections::BTreeSet,
    io::Read as _,
    time::{SystemTime, UNIX_EPOCH},
};

use flate2::read::GzDecoder;
use profiler::{
    export::proto::{PushRequest, RawProfileSeries},
    profile::proto::Profile,
};
use prost::Message as _;

use super::{http::Request, store::text};

/// An answer that is not 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// HTTP status.
    pub status: u16,
    /// Connect code.
    pub code: &'static str,
    /// The server's words.
    pub message: String,
}

pub(super) const MEBIBYTE: usize = 1024 * 1024;

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal {
        status: 400,
        code: "invalid_argument",
        message: message.into(),
    }
}

/// There was too much of something.
pub(super) fn exhausted(message: impl Into<String>) -> Refusal {
    Refusal {
        status: 429,
        code: "resource_exhausted",
        message: message.into(),
    }
}

fn require(condition: bool, message: &str) -> Result<(), Refusal> {
    condition.then_some(()).ok_or_else(|| invalid(message))
}

/// The push in a request's body.
pub(super) fn body(request: &Request) -> Result<PushRequest, Refusal> {
    if request.header("content-type") != "application/proto" {
        return Err(Refusal {
            status: 415,
            code: "unknown",
            message: "unsupported content type".to_owned(),
        });
    }
    let bytes = match request.header("content-encoding") {
        "gzip" => gunzip(&request.body).ok_or_else(|| invalid("gzip: invalid header"))?,
        _ => request.body.clone(),
    };
    PushRequest::decode(bytes.as_slice()).map_err(|error| invalid(error.to_string()))
}

/// A profile, gzipped or not, and its uncompressed size.
pub(super) fn profile(raw: &[u8]) -> Result<(Profile, usize), Refusal> {
    let bytes = match raw {
        [0x1f, 0x8b, ..] => gunzip(raw).ok_or_else(|| invalid("gzip: invalid header"))?,
        _ => raw.to_vec(),
    };
    // Decoding refuses a string that is not UTF-8.
    let profile = Profile::decode(bytes.as_slice())
        .map_err(|error| invalid(format!("malformed_profile: {error}")))?;
    Ok((profile, bytes.len()))
}

fn gunzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut plain = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut plain).ok()?;
    Some(plain)
}

/// Bytes that a push counts for: the profile's and its labels'.
pub(super) fn charged(series: &RawProfileSeries, size: usize) -> usize {
    let labels = series.labels.iter();
    size + labels
        .map(|label| label.name.len() + label.value.len())
        .sum::<usize>()
}

/// Refuses what the server would refuse before it splits the profile.
pub(super) fn check(series: &RawProfileSeries, profile: &Profile) -> Result<(), Refusal> {
    let of = |name: &str| series.labels.iter().find(|label| label.name == name);
    let value = |name: &str| of(name).is_some_and(|label| !label.value.is_empty());
    require(value("__name__"), "missing metric name")?;
    require(
        of("service_name").is_none() || value("service_name"),
        "service name is not provided",
    )?;
    require(profile.sample.len() <= 16_000, "too many samples")?;
    well_formed(profile)?;
    in_window(profile.time_nanos)?;
    // Not a rule of the server's validation, but a nil dereference in its normalisation.
    if profile.period_type.is_none() && profile.sample.iter().any(|it| it.value.contains(&0)) {
        return Err(Refusal {
            status: 500,
            code: "internal",
            message: "runtime error: invalid memory address".to_owned(),
        });
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the server has its own clock")]
fn in_window(time_nanos: i64) -> Result<(), Refusal> {
    const SECOND: i128 = 1_000_000_000;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = i128::try_from(now.unwrap_or_default().as_nanos()).unwrap_or(0);
    let age = now - i128::from(time_nanos);
    let inside = time_nanos == 0 || (-600 * SECOND..=3_600 * SECOND).contains(&age);
    require(inside, "profile is outside of ingestion window")
}

fn well_formed(profile: &Profile) -> Result<(), Refusal> {
    let strings = profile.string_table.len();
    let known = |index: i64| usize::try_from(index).is_ok_and(|index| index < strings);
    let require = |condition, what: &str| require(condition, &format!("malformed_profile: {what}"));
    require(!profile.sample_type.is_empty(), "sample type is empty")?;
    let first = profile.string_table.first();
    require(first.is_some_and(String::is_empty), "string_table[0]")?;
    require(
        profile.location.iter().all(|it| it.id != 0),
        "location id is 0",
    )?;
    require(
        profile.function.iter().all(|it| it.id != 0),
        "function id is 0",
    )?;
    let types = profile.sample_type.len();
    for sample in &profile.sample {
        require(sample.value.len() == types, "values and types differ")?;
        require(sample.label.len() <= 100, "too many labels")?;
        let mut labels = sample.label.iter();
        require(labels.all(|it| known(it.key) && known(it.str)), "label")?;
    }
    let mut types = profile.sample_type.iter();
    require(types.all(|it| known(it.r#type)), "sample type")?;
    let mut types = profile.sample_type.iter();
    require(
        !types.any(|it| text(profile, it.r#type).contains('-')),
        "sample type contains -",
    )?;
    let mut functions = profile.function.iter();
    require(
        functions.all(|it| known(it.name) && known(it.system_name) && known(it.filename)),
        "function",
    )?;
    let mut mappings = profile.mapping.iter();
    require(
        mappings.all(|it| known(it.filename) && known(it.build_id)),
        "mapping",
    )
}

/// Refuses the labels of a series after sample labels have joined them.
pub(super) fn series_labels(labels: &[(String, String)]) -> Result<(), Refusal> {
    require(labels.len() <= 30, "max_label_names_per_series")?;
    let names: BTreeSet<_> = labels.iter().map(|(name, _)| name).collect();
    require(names.len() == labels.len(), "duplicate_label_names")?;
    let mut lengths = labels.iter();
    require(
        lengths.all(|(name, value)| name.len() <= 1_024 && value.len() <= 2_048),
        "label_too_long",
    )
}

/// Refuses what would make more series than the server keeps of a tenant.
pub(super) fn series_count(series: usize) -> Result<(), Refusal> {
    if series > 5_000 {
        return Err(exhausted("Maximum active series limit exceeded"));
    }
    Ok(())
}

/// Refuses a push that names no tenant, where it must.
pub(super) fn tenant(request: &Request, has_tenants: bool) -> Result<(), Refusal> {
    if has_tenants && request.header("x-scope-orgid").is_empty() {
        return Err(Refusal {
            status: 401,
            code: "unauthenticated",
            message: "no org id".to_owned(),
        });
    }
    Ok(())
}

/// Whether any location's mapping lacks functions.
pub(super) fn unsymbolized(profile: &Profile) -> bool {
    let has_functions = |id: u64| {
        let mut mappings = profile.mapping.iter();
        mappings.any(|mapping| mapping.id == id && mapping.has_functions)
    };
    let mut locations = profile.location.iter();
    locations.any(|location| !has_functions(location.mapping_id))
}

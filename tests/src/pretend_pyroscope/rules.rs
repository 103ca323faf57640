//! What the server refuses of a profile and of a series, in its order and words:
//! `pkg/validation/{limits,validate}.go` and `pkg/distributor/distributor.go` of grafana/pyroscope, default
//! limits.

use std::fmt::Write as _;

use profiler::{
    export::pyroscope::proto::RawProfileSeries, profile::proto::Profile, time::UnixNanos,
};

use super::{
    pprof::Pprof,
    refusal::Refusal,
    split::{Labels, text},
};

pub(super) const MEBIBYTE: usize = 1024 * 1024;
const MAX_SAMPLES: usize = 16_000;
const MAX_SAMPLE_LABELS: usize = 100;
const MAX_LABELS: usize = 30;
const MAX_LABEL_NAME: usize = 1_024;
const MAX_LABEL_VALUE: usize = 2_048;
/// How far from now a profile may be, in milliseconds.
const OLDEST: i64 = 3_600_000;
const NEWEST: i64 = 600_000;

fn require(condition: bool, message: &str) -> Result<(), Refusal> {
    condition
        .then_some(())
        .ok_or_else(|| Refusal::invalid(message))
}

/// Bytes that a profile counts for: its own and its labels'.
pub(super) fn charged(series: &RawProfileSeries, size: usize) -> usize {
    let labels = series.labels.iter();
    size + labels
        .map(|label| label.name.len() + label.value.len())
        .sum::<usize>()
}

/// Refuses a profile for what it is, and gives it a time if it has none.
pub(super) fn profile(labels: &Labels, pprof: &mut Pprof) -> Result<(), Refusal> {
    let profile = &mut pprof.profile;
    require(!profile.sample_type.is_empty(), "empty profile")?;
    let now = i64::try_from(UnixNanos::now().0).unwrap_or(i64::MAX);
    if profile.time_nanos > 0 {
        in_window(labels, profile.time_nanos / 1_000_000, now / 1_000_000)?;
    } else {
        profile.time_nanos = now;
    }
    let named = |what: &str, setting: &str, actual, limit| {
        let labels = shown(labels);
        let words = format!(
            "the profile with labels '{labels}' exceeds the {what} limit ({setting}, actual: {actual}, limit: {limit})"
        );
        if actual > limit {
            Err(Refusal::invalid(words))
        } else {
            Ok(())
        }
    };
    let count = profile.sample.len();
    named(
        "samples count",
        "max_profile_stacktrace_samples",
        count,
        MAX_SAMPLES,
    )?;
    for sample in &profile.sample {
        let setting = "max_profile_stacktrace_sample_labels";
        named(
            "sample labels",
            setting,
            sample.label.len(),
            MAX_SAMPLE_LABELS,
        )?;
    }
    well_formed(profile)?;
    if let Some(bytes) = &pprof.not_utf8 {
        let hex = bytes.iter().fold(String::new(), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        return Err(Refusal::invalid(format!("invalid utf8 string hex: {hex}")));
    }
    panics(profile)
}

fn in_window(labels: &Labels, time: i64, now: i64) -> Result<(), Refusal> {
    let (from, to) = (now - OLDEST, now + NEWEST);
    let words = format!(
        "profile with labels '{}' is outside of ingestion window (profile timestamp: {time}, the ingestion window starts at {from} and ends at {to})",
        shown(labels)
    );
    require(from < time && time < to, &words)
}

fn well_formed(profile: &Profile) -> Result<(), Refusal> {
    let strings = i64::try_from(profile.string_table.len()).unwrap_or(i64::MAX);
    // Negative ones pass, and crash what comes later.
    let known = |index: i64, what: &str| require(index < strings, &format!("{what} out of range"));
    for location in &profile.location {
        require(location.id != 0, "location id is 0")?;
    }
    for function in &profile.function {
        require(function.id != 0, "function id is 0")?;
    }
    let types = profile.sample_type.len();
    let mut samples = profile.sample.iter();
    require(
        samples.all(|sample| sample.value.len() == types),
        "sample value length mismatch",
    )?;
    let first = profile.string_table.first();
    require(
        first.is_some_and(String::is_empty),
        "string 0 should be empty string",
    )?;
    for value in &profile.sample_type {
        known(value.r#type, "sample type type string index")?;
    }
    for label in profile.sample.iter().flat_map(|it| &it.label) {
        known(label.str.max(label.key), "sample label string index")?;
    }
    for function in &profile.function {
        known(function.name, "function name string index")?;
        known(function.system_name, "function system name index string")?;
        known(function.filename, "function file name string index")?;
    }
    for mapping in &profile.mapping {
        known(mapping.filename, "mapping file name string index")?;
        known(mapping.build_id, "mapping build id string index")?;
    }
    let mut types = profile.sample_type.iter();
    require(
        !types.any(|it| text(profile, it.r#type).contains('-')),
        "sample type contains -",
    )
}

/// No rules of the server's, but what makes it panic; it goes on, and has failed without a code.
fn panics(profile: &Profile) -> Result<(), Refusal> {
    let labels = profile.sample.iter().flat_map(|it| &it.label);
    let labels = labels.flat_map(|it| [it.key, it.str]);
    let types = profile.sample_type.iter().map(|it| it.r#type);
    let functions = profile.function.iter();
    let functions = functions.flat_map(|it| [it.name, it.system_name, it.filename]);
    let mappings = profile.mapping.iter();
    let mappings = mappings.flat_map(|it| [it.filename, it.build_id]);
    let mut indices = labels.chain(types).chain(functions).chain(mappings);
    if let Some(index) = indices.find(|&index| index < 0) {
        let words = format!("panic: runtime error: index out of range [{index}]");
        return Err(Refusal::unknown(words));
    }
    // Its normalisation removes such samples, and then looks for names that are no longer used.
    let is_removed =
        |values: &[i64]| values.iter().all(|it| *it == 0) || values.iter().any(|it| *it < 0);
    if profile.period_type.is_none() && profile.sample.iter().any(|it| is_removed(&it.value)) {
        let words = "panic: runtime error: invalid memory address or nil pointer dereference";
        return Err(Refusal::unknown(words));
    }
    Ok(())
}

/// Refuses the labels of a series after sample labels have joined them.
pub(super) fn series_labels(labels: &Labels) -> Result<(), Refusal> {
    let shown = shown(labels);
    let value = |name: &str| {
        labels
            .iter()
            .any(|(key, value)| key == name && !value.is_empty())
    };
    let count = labels.len();
    require(
        count <= MAX_LABELS,
        &format!("profile series '{shown}' has {count} label names; limit {MAX_LABELS}"),
    )?;
    let wrong = |error: &str| format!("invalid labels '{shown}' with error: {error}");
    require(value("__name__"), &wrong("invalid metric name"))?;
    require(
        value("service_name"),
        &wrong("service name is not provided"),
    )?;
    let mut last = "";
    for (name, value) in labels {
        let with = format!("profile with labels '{shown}' has");
        require(
            name.len() <= MAX_LABEL_NAME,
            &format!("{with} label name too long: '{name}'"),
        )?;
        require(
            value.len() <= MAX_LABEL_VALUE,
            &format!("{with} label value too long: '{value}'"),
        )?;
        require(!name.is_empty(), &wrong("invalid label name ''"))?;
        require(
            last != name,
            &format!("{with} duplicate label name: '{name}'"),
        )?;
        last = name;
    }
    Ok(())
}

/// Labels as the server writes them in its errors.
pub(super) fn shown(labels: &Labels) -> String {
    let pairs = labels
        .iter()
        .map(|(name, value)| format!("{name}={value:?}"));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
}

//! A profile as it comes: perhaps gzipped, perhaps with strings that are no UTF-8, which the server takes at
//! first and names later. `pkg/pprof/pprof.go` of grafana/pyroscope.

use std::io::Read as _;

use flate2::read::GzDecoder;
use profiler::profile::proto::{Function, Location, Mapping, Profile, Sample, ValueType};
use prost::Message as _;

use super::refusal::Refusal;

/// Bytes that a profile may have uncompressed: `validation.max-profile-size-bytes`.
const MAX_SIZE: usize = 4 * 1024 * 1024;

/// A decoded profile.
#[derive(Debug)]
pub(super) struct Pprof {
    pub(super) profile: Profile,
    /// Bytes it has uncompressed.
    pub(super) size: usize,
    /// The first string that is no UTF-8.
    pub(super) not_utf8: Option<Vec<u8>>,
}

/// The message of [`Profile`] with strings of any bytes.
#[derive(Clone, PartialEq, prost::Message)]
struct Bytes {
    #[prost(message, repeated, tag = "1")]
    sample_type: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    sample: Vec<Sample>,
    #[prost(message, repeated, tag = "3")]
    mapping: Vec<Mapping>,
    #[prost(message, repeated, tag = "4")]
    location: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    function: Vec<Function>,
    #[prost(bytes = "vec", repeated, tag = "6")]
    string_table: Vec<Vec<u8>>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
    #[prost(int64, tag = "14")]
    default_sample_type: i64,
}

/// Opens and decodes a profile. Only its size is the client's fault; whatever else goes wrong here is an error
/// of Go's to the server, without a code.
pub(super) fn decode(raw: &[u8]) -> Result<Pprof, Refusal> {
    let bytes = open(raw)?;
    if bytes.len() > MAX_SIZE {
        let words = "uncompressed profile payload size exceeds limit of 4.2 MB";
        return Err(Refusal::invalid(words));
    }
    let message = Bytes::decode(bytes.as_slice())
        .map_err(|error| Refusal::unknown(format!("proto: {error}")))?;
    let mut not_utf8 = None;
    let strings = message.string_table.into_iter().map(|bytes| {
        String::from_utf8(bytes).unwrap_or_else(|error| {
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            not_utf8.get_or_insert(error.into_bytes());
            text
        })
    });
    let profile = Profile {
        string_table: strings.collect(),
        sample_type: message.sample_type,
        sample: message.sample,
        mapping: message.mapping,
        location: message.location,
        function: message.function,
        time_nanos: message.time_nanos,
        duration_nanos: message.duration_nanos,
        period_type: message.period_type,
        period: message.period,
        default_sample_type: message.default_sample_type,
    };
    Ok(Pprof {
        profile,
        size: bytes.len(),
        not_utf8,
    })
}

/// Go's reader looks for a header of ten bytes; what has another one is taken to be plain.
fn open(raw: &[u8]) -> Result<Vec<u8>, Refusal> {
    match raw {
        [] => return Err(Refusal::unknown("gzip reset: EOF")),
        _ if raw.len() < 10 => return Err(Refusal::unknown("gzip reset: unexpected EOF")),
        [0x1f, 0x8b, 8, ..] => {}
        _ => return Ok(raw.to_vec()),
    }
    let mut plain = Vec::new();
    // No more than tells that it is too much.
    let limit = u64::try_from(MAX_SIZE + 1).unwrap_or(u64::MAX);
    let read = GzDecoder::new(raw).take(limit).read_to_end(&mut plain);
    match read {
        Ok(_) => Ok(plain),
        Err(_) => Err(Refusal::unknown("copy to buffer: unexpected EOF")),
    }
}

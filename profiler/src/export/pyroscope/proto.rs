//! The messages of `push.v1.PusherService/Push` (grafana/pyroscope, `api/push/v1/push.proto` and
//! `api/types/v1/types.proto`, Apache-2.0), with their field numbers.

/// A push.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PushRequest {
    /// Series; we send one.
    #[prost(message, repeated, tag = "1")]
    pub series: Vec<RawProfileSeries>,
}

/// Profiles of one series.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RawProfileSeries {
    /// What names the series.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<LabelPair>,
    /// Its profiles; we send one.
    #[prost(message, repeated, tag = "2")]
    pub samples: Vec<RawSample>,
}

/// A label of a series.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LabelPair {
    /// Key.
    #[prost(string, tag = "1")]
    pub name: String,
    /// Value.
    #[prost(string, tag = "2")]
    pub value: String,
}

/// A profile.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RawSample {
    /// A pprof message.
    #[prost(bytes = "vec", tag = "1")]
    pub raw_profile: Vec<u8>,
    /// A UUID, only logged by the server.
    #[prost(string, tag = "2")]
    pub id: String,
}

//! The messages of pprof, `perftools.profiles` of google/pprof's `proto/profile.proto`: the fields
//! we write, with its numbers. Strings are indices into `Profile.string_table`.

/// A profile.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Profile {
    /// What the values of a sample are.
    #[prost(message, repeated, tag = "1")]
    pub sample_type: Vec<ValueType>,
    /// The samples.
    #[prost(message, repeated, tag = "2")]
    pub sample: Vec<Sample>,
    /// Files with code; the first is the main binary.
    #[prost(message, repeated, tag = "3")]
    pub mapping: Vec<Mapping>,
    /// Places in code.
    #[prost(message, repeated, tag = "4")]
    pub location: Vec<Location>,
    /// Functions.
    #[prost(message, repeated, tag = "5")]
    pub function: Vec<Function>,
    /// All strings; the first is empty.
    #[prost(string, repeated, tag = "6")]
    pub string_table: Vec<String>,
    /// Start, in nanoseconds since 1970.
    #[prost(int64, tag = "9")]
    pub time_nanos: i64,
    /// Length, in nanoseconds.
    #[prost(int64, tag = "10")]
    pub duration_nanos: i64,
    /// What the period counts.
    #[prost(message, optional, tag = "11")]
    pub period_type: Option<ValueType>,
    /// Distance of two samples.
    #[prost(int64, tag = "12")]
    pub period: i64,
    /// Name of the sample type to show first.
    #[prost(int64, tag = "14")]
    pub default_sample_type: i64,
}

/// Name and unit of a value.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ValueType {
    /// Name.
    #[prost(int64, tag = "1")]
    pub r#type: i64,
    /// Unit.
    #[prost(int64, tag = "2")]
    pub unit: i64,
}

/// Values of one stack with one set of labels.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Sample {
    /// Ids of its locations, leaf first.
    #[prost(uint64, repeated, tag = "1")]
    pub location_id: Vec<u64>,
    /// A value for each sample type.
    #[prost(int64, repeated, tag = "2")]
    pub value: Vec<i64>,
    /// Its labels.
    #[prost(message, repeated, tag = "3")]
    pub label: Vec<Label>,
}

/// A label of a sample.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Label {
    /// Key.
    #[prost(int64, tag = "1")]
    pub key: i64,
    /// Value, if it is text.
    #[prost(int64, tag = "2")]
    pub str: i64,
    /// Value, if it is a number. We write none.
    #[prost(int64, tag = "3")]
    pub num: i64,
}

/// A file with code.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
#[expect(clippy::struct_excessive_bools, reason = "the message has them")]
pub struct Mapping {
    /// From 1.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Path.
    #[prost(int64, tag = "5")]
    pub filename: i64,
    /// Build id.
    #[prost(int64, tag = "6")]
    pub build_id: i64,
    /// Whether its functions have names.
    #[prost(bool, tag = "7")]
    pub has_functions: bool,
    /// Whether its functions have files.
    #[prost(bool, tag = "8")]
    pub has_filenames: bool,
    /// Whether its locations have lines.
    #[prost(bool, tag = "9")]
    pub has_line_numbers: bool,
    /// Whether its locations have inlined frames.
    #[prost(bool, tag = "10")]
    pub has_inline_frames: bool,
}

/// A place in code.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Location {
    /// From 1.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its mapping.
    #[prost(uint64, tag = "2")]
    pub mapping_id: u64,
    /// Address; 0 as names are already known.
    #[prost(uint64, tag = "3")]
    pub address: u64,
    /// Its line.
    #[prost(message, repeated, tag = "4")]
    pub line: Vec<Line>,
}

/// A line of a function.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Line {
    /// Its function.
    #[prost(uint64, tag = "1")]
    pub function_id: u64,
    /// Number, from 1; 0 if unknown.
    #[prost(int64, tag = "2")]
    pub line: i64,
}

/// A function.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Function {
    /// From 1.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Name.
    #[prost(int64, tag = "2")]
    pub name: i64,
    /// Name as the linker knows it.
    #[prost(int64, tag = "3")]
    pub system_name: i64,
    /// Source file.
    #[prost(int64, tag = "4")]
    pub filename: i64,
    /// First line; 0 if unknown.
    #[prost(int64, tag = "5")]
    pub start_line: i64,
}

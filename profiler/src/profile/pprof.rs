//! Profile → pprof bytes, in a form that its readers take without loss.
//!
//! A sample type for each kind of measure, all in nanoseconds. Every location has a mapping that claims to have
//! functions: otherwise readers that symbolise would do so, and might drop labels in the process. Strings and stacks
//! stay below the lengths from which readers cut them at the wrong end.

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use prost::{Message as _, encoding::message};

use super::{Label, Projected, ProjectedRow, aggregate::marker, proto, stacks::AddressHash};
use crate::{
    measure::Kind,
    symbolize::{Frame, FrameKind, MappedFile},
    time::UnixNanos,
};

/// Longest string, in bytes: some readers cut strings of 65 535 bytes or more, and keep the tail.
pub const MAX_STRING: usize = 65_534;
/// Most frames of a stack: some readers drop the leaf beyond 1 000.
pub const MAX_DEPTH: usize = 1_000;

/// Number of the field `sample` of a `Profile`.
const SAMPLE: u32 = 2;

/// The profile as an uncompressed pprof message. A string that was cut ends in `…`, a stack in `[truncated]`.
pub fn encode(profile: &Projected) -> Vec<u8> {
    encode_rows(profile, &profile.rows, profile.window.start)
}

/// The same for some of its rows, stamped with a separate time.
pub(super) fn encode_rows(profile: &Projected, rows: &[ProjectedRow], time: UnixNanos) -> Vec<u8> {
    let mut encoder = Encoder::new(profile, BTreeSet::from([profile.kind]));
    encoder.message.time_nanos = signed(time.0);
    encoder.main_mapping(rows);
    for row in rows {
        encoder.row(profile.kind, row);
    }
    encoder.finish()
}

/// All profiles in one message: the window spans theirs. Labels tell the services apart. Without any it is a profile of
/// CPU without samples: a reader takes no bytes for a broken file.
pub fn encode_merged(profiles: &[Projected]) -> Vec<u8> {
    let Some(first) = profiles.first() else {
        return Encoder::of_kinds(BTreeSet::from([Kind::Cpu]), 0).finish();
    };
    let mut encoder = Encoder::new(first, profiles.iter().map(|it| it.kind).collect());
    for profile in profiles {
        encoder.main_mapping(&profile.rows);
        for row in &profile.rows {
            encoder.row(profile.kind, row);
        }
        let start = encoder
            .message
            .time_nanos
            .min(signed(profile.window.start.0));
        let known_end = encoder
            .message
            .time_nanos
            .saturating_add(encoder.message.duration_nanos);
        let end = known_end.max(signed(profile.window.end().0));
        encoder.message.time_nanos = start;
        encoder.message.duration_nanos = end.saturating_sub(start);
    }
    encoder.finish()
}

#[derive(Default)]
struct Encoder<'profile> {
    /// All but the samples.
    message: proto::Profile,
    /// The kinds that each sample has a value of.
    kinds: BTreeSet<Kind>,
    /// The samples, encoded: as messages they would take several times the memory.
    samples: Vec<u8>,
    /// The current sample; kept for its allocations.
    sample: proto::Sample,
    strings: HashMap<String, i64>,
    mappings: HashMap<&'profile MappedFile, u64>,
    functions: HashMap<proto::Function, u64>,
    locations: HashMap<&'profile Frame, u64>,
    /// The same by the frame's address, which is faster: the profile keeps its frames alive.
    by_address: HashMap<usize, u64, AddressHash>,
    /// Labels by the address of their part, which the profile keeps alive.
    labels: HashMap<usize, Vec<proto::Label>, AddressHash>,
    truncated: Option<u64>,
}

impl<'profile> Encoder<'profile> {
    fn new(profile: &Projected, kinds: BTreeSet<Kind>) -> Self {
        let mut encoder = Self::of_kinds(kinds, profile.period);
        encoder.message.time_nanos = signed(profile.window.start.0);
        encoder.message.duration_nanos = signed(profile.window.duration_nanos);
        encoder
    }

    /// Without samples and without a time. `period`: nanoseconds between ticks of the sampling clock, 0 if not known.
    fn of_kinds(kinds: BTreeSet<Kind>, period: u64) -> Self {
        let mut encoder = Self::default();
        encoder.string("");
        for terms in kinds.iter().map(|kind| kind.terms()) {
            let r#type = encoder.string(terms.sample_type);
            let unit = encoder.string(terms.unit);
            let value = proto::ValueType { r#type, unit };
            encoder.message.sample_type.push(value);
            if terms.is_periodic {
                encoder.message.period_type = Some(value);
                encoder.message.period = signed(period);
            }
        }
        let first = encoder.message.sample_type.first();
        encoder.message.default_sample_type = first.map_or(0, |it| it.r#type);
        encoder.kinds = kinds;
        encoder
    }

    /// By convention the first mapping is the main binary: here the interpreter.
    fn main_mapping(&mut self, rows: &'profile [ProjectedRow]) {
        let mut frames = rows.iter().flat_map(|row| row.stack.iter());
        if let Some(frame) = frames.find(|frame| frame.kind == FrameKind::Python) {
            self.mapping(&frame.mapping);
        }
    }

    fn row(&mut self, kind: Kind, row: &'profile ProjectedRow) {
        let whole = row.stack.len() <= MAX_DEPTH;
        let depth = if whole { MAX_DEPTH } else { MAX_DEPTH - 1 };
        let mut sample = std::mem::take(&mut self.sample);
        sample.clear();
        for frame in row.stack.iter().take(depth) {
            sample.location_id.push(self.location_cached(frame));
        }
        if !whole {
            sample.location_id.push(self.truncation());
        }
        let nanos = |of: Kind| if of == kind { row.sum.nanos } else { 0 };
        let values = self.kinds.iter().map(|&of| signed(nanos(of)));
        sample.value.extend(values);
        for part in &row.labels {
            self.labels(part, &mut sample.label);
        }
        message::encode(SAMPLE, &sample, &mut self.samples);
        self.sample = sample;
    }

    fn labels(&mut self, part: &Arc<[Label]>, labels: &mut Vec<proto::Label>) {
        let address = Arc::as_ptr(part).addr();
        if let Some(known) = self.labels.get(&address) {
            labels.extend_from_slice(known);
            return;
        }
        let encoded = part.iter().map(|(key, value)| proto::Label {
            key: self.string(key.name()),
            str: self.string(value),
            num: 0,
        });
        let encoded: Vec<proto::Label> = encoded.collect();
        labels.extend_from_slice(&encoded);
        self.labels.insert(address, encoded);
    }

    /// The bytes of the whole message, its fields in the order of their numbers.
    fn finish(mut self) -> Vec<u8> {
        let head = proto::Profile {
            sample_type: std::mem::take(&mut self.message.sample_type),
            ..proto::Profile::default()
        };
        let mut bytes = head.encode_to_vec();
        bytes.append(&mut self.samples);
        bytes.append(&mut self.message.encode_to_vec());
        bytes
    }

    fn location_cached(&mut self, frame: &'profile Arc<Frame>) -> u64 {
        let address = Arc::as_ptr(frame).addr();
        if let Some(&id) = self.by_address.get(&address) {
            return id;
        }
        let id = if let Some(&id) = self.locations.get(frame.as_ref()) {
            id
        } else {
            let id = self.location(frame);
            self.locations.insert(frame, id);
            id
        };
        self.by_address.insert(address, id);
        id
    }

    fn truncation(&mut self) -> u64 {
        if let Some(id) = self.truncated {
            return id;
        }
        let frame = marker("[truncated]");
        let mapping_id = self.push_mapping(&frame.mapping);
        let id = self.push_location(&frame, mapping_id);
        *self.truncated.insert(id)
    }

    fn location(&mut self, frame: &'profile Frame) -> u64 {
        let mapping_id = self.mapping(&frame.mapping);
        self.push_location(frame, mapping_id)
    }

    fn push_location(&mut self, frame: &Frame, mapping_id: u64) -> u64 {
        let function_id = self.function(frame);
        let id = next_id(self.message.location.len());
        self.message.location.push(proto::Location {
            id,
            mapping_id,
            address: 0,
            line: vec![proto::Line {
                function_id,
                line: i64::from(frame.line),
            }],
        });
        id
    }

    fn function(&mut self, frame: &Frame) -> u64 {
        let function = proto::Function {
            id: 0,
            name: self.string(&frame.marked_name()),
            system_name: 0,
            filename: self.string(&frame.file),
            start_line: i64::from(frame.start_line),
        };
        if let Some(&id) = self.functions.get(&function) {
            return id;
        }
        let id = next_id(self.message.function.len());
        self.message
            .function
            .push(proto::Function { id, ..function });
        self.functions.insert(function, id);
        id
    }

    fn mapping(&mut self, file: &'profile MappedFile) -> u64 {
        if let Some(&id) = self.mappings.get(file) {
            return id;
        }
        let id = self.push_mapping(file);
        self.mappings.insert(file, id);
        id
    }

    fn push_mapping(&mut self, file: &MappedFile) -> u64 {
        let id = next_id(self.message.mapping.len());
        let mapping = proto::Mapping {
            id,
            filename: self.string(&file.path),
            build_id: self.string(&file.build_id),
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
            has_inline_frames: false,
        };
        self.message.mapping.push(mapping);
        id
    }

    fn string(&mut self, text: &str) -> i64 {
        let text = cut(text);
        if let Some(&index) = self.strings.get(text.as_ref()) {
            return index;
        }
        let index = i64::try_from(self.message.string_table.len()).unwrap_or(0);
        self.message.string_table.push(text.clone().into_owned());
        self.strings.insert(text.into_owned(), index);
        index
    }
}

/// The start of a text that is too long, marked by `…`.
fn cut(text: &str) -> std::borrow::Cow<'_, str> {
    const MARK: char = '…';
    if text.len() <= MAX_STRING {
        return text.into();
    }
    let end = text.floor_char_boundary(MAX_STRING - MARK.len_utf8());
    let mut head = text.get(..end).unwrap_or_default().to_owned();
    head.push(MARK);
    head.into()
}

fn next_id(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX).saturating_add(1)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

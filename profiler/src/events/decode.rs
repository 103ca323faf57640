//! Checked bytes → [`Event`]. Any bytes may come: a size, a count or a number that does not fit is an
//! error, never a panic. It is long because it has every kind of record, one after the other.

#[cfg(test)]
mod tests;

use bytemuck::AnyBitPattern;
use profiler_common::{
    event::{
        CodeRecord, Header, HookProcess, ProcessRecord, ResourceRecord, SampleRecord,
        SpanEndRecord, SpanSeenRecord, SpanStartRecord, code_flags, kind, measure, process, seen,
        start,
    },
    limits::{INNERMOST_FRAMES, OUTERMOST_FRAMES},
    outcome::Outcome,
    span::{source, state},
};

use super::{
    Code, CodeId, ContextFailure, Event, LineTablePart, ProcessChange, ProcessNotice, PythonFrame,
    PythonString, Resource, Sample, SpanEnd, SpanParent, SpanSeen, SpanStamp, SpanStart, Stack,
    ThreadName, strings,
};
use crate::{
    id::{Pid, ProcessKey, SpanId, SpanIds, Tid, TraceId},
    measure::{Kind, Measure},
    time::BootNanos,
};

/// Why bytes are no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The record ends before it should.
    #[error("the record is too short")]
    Short,
    /// The record's own size is not that of its bytes.
    #[error("the record says it has {said} bytes and has {has}")]
    Size {
        /// What it says.
        said: u32,
        /// What it has.
        has: usize,
    },
    /// The kind is none we know.
    #[error("unknown kind of record {0}")]
    Kind(u32),
    /// A number stands for nothing we know.
    #[error("unknown {field} {value}")]
    Value {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u32,
    },
    /// A span id is 0.
    #[error("a span id is 0")]
    NoSpanId,
}

/// Whether a record says that it is a sample, whatever else is wrong with it.
pub fn is_sample(bytes: &[u8]) -> bool {
    split::<Header>(bytes).is_ok_and(|(header, _)| header.kind == kind::SAMPLE)
}

/// Decodes one record.
pub fn decode(bytes: &[u8]) -> Result<Event, DecodeError> {
    let (header, _) = split::<Header>(bytes)?;
    // The ring rounds sizes up to 8 bytes; the record knows its own.
    let size = header.size as usize;
    if size > bytes.len() {
        return Err(DecodeError::Size {
            said: header.size,
            has: bytes.len(),
        });
    }
    let bytes = bytes.get(..size).ok_or(DecodeError::Short)?;
    match header.kind {
        kind::SAMPLE => sample(bytes).map(Event::Sample),
        kind::CODE => code(bytes),
        kind::SPAN_START => span_start(bytes).map(Event::SpanStart),
        kind::SPAN_SEEN => span_seen(bytes).map(Event::SpanSeen),
        kind::SPAN_END => span_end(bytes).map(Event::SpanEnd),
        kind::PROCESS => process_notice(bytes).map(Event::Process),
        kind::RESOURCE => resource(bytes).map(Event::Resource),
        other => Err(DecodeError::Kind(other)),
    }
}

/// Takes a value off the front.
fn split<T: AnyBitPattern>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    let (head, tail) = split_bytes(bytes, size_of::<T>())?;
    Ok((bytemuck::pod_read_unaligned(head), tail))
}

/// The records in bytes that hold one behind the other, as `record --keep-records` leaves them: each
/// says its own size. Ends where the bytes do, or make no sense.
pub fn records(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (header, _) = split::<Header>(rest).ok()?;
        let size = usize::try_from(header.size).ok()?;
        let (record, tail) = rest.split_at_checked(size)?;
        rest = tail;
        (!record.is_empty()).then_some(record)
    })
}

fn split_bytes(bytes: &[u8], size: usize) -> Result<(&[u8], &[u8]), DecodeError> {
    bytes.split_at_checked(size).ok_or(DecodeError::Short)
}

/// Takes `count` values off the front, each as `of` makes it.
fn split_many<T: AnyBitPattern, U>(
    bytes: &[u8],
    count: usize,
    of: impl Fn(T) -> U,
) -> Result<(Vec<U>, &[u8]), DecodeError> {
    let size = count
        .checked_mul(size_of::<T>())
        .ok_or(DecodeError::Short)?;
    let (head, tail) = split_bytes(bytes, size)?;
    let values = head.chunks(size_of::<T>());
    let values = values.map(|bytes| of(bytemuck::pod_read_unaligned(bytes)));
    Ok((values.collect(), tail))
}

fn outcome(field: &'static str, value: u32) -> Result<Outcome, DecodeError> {
    Outcome::from_number(value).ok_or(DecodeError::Value { field, value })
}

/// Puts the outermost frames of a stack whose middle is left out in order: each took the place of the one
/// [`OUTERMOST_FRAMES`] further in. If the walk was given up, they are not the outermost: then the stack ends with the
/// innermost. Returns how many frames are left out in the middle.
fn order(frames: &mut Vec<PythonFrame>, omitted: u16, outcome: Outcome) -> u16 {
    let Some(outermost) = frames
        .get_mut(INNERMOST_FRAMES..)
        .filter(|it| omitted != 0 && it.len() == OUTERMOST_FRAMES)
    else {
        return 0;
    };
    if outcome == Outcome::Truncated {
        frames.truncate(INNERMOST_FRAMES);
        return 0;
    }
    outermost.rotate_left(usize::from(omitted) % OUTERMOST_FRAMES);
    omitted
}

fn sample(bytes: &[u8]) -> Result<Sample, DecodeError> {
    let (record, tail) = split::<SampleRecord>(bytes)?;
    let python_frame = |frame: profiler_common::event::PythonFrame| PythonFrame {
        code: CodeId {
            address: frame.code,
            checksum: frame.checksum,
        },
        instruction: frame.instruction,
    };
    let (mut python, tail) = split_many(tail, usize::from(record.python_frames), python_frame)?;
    let (kernel, tail) = split_many(tail, usize::from(record.kernel_frames), |it| it)?;
    let (native, _) = split_many(tail, usize::from(record.native_frames), |it| it)?;
    let python_outcome = outcome("python outcome", record.python_outcome)?;
    let omitted = order(&mut python, record.python_frames_omitted, python_outcome);
    Ok(Sample {
        time: BootNanos(record.header.time),
        measure: measure(&record)?,
        process: process_key(&record.header, record.process_start),
        tid: Tid(record.header.tid),
        thread_name: ThreadName(record.thread_name),
        span: stamp(&record)?,
        stack: Stack {
            kernel,
            native,
            native_outcome: outcome("native outcome", record.native_outcome)?,
            python,
            python_gap: omitted.checked_ilog2().map_or(0, |bits| 1 << bits),
            python_outcome,
        },
        python_frames_omitted: omitted,
    })
}

fn measure(record: &SampleRecord) -> Result<Measure, DecodeError> {
    let kind = match record.measure {
        measure::CPU => Kind::Cpu,
        other => {
            return Err(DecodeError::Value {
                field: "measure",
                value: other.into(),
            });
        }
    };
    Ok(Measure {
        kind,
        nanos: record.nanos,
    })
}

fn process_key(header: &Header, start_time: u64) -> ProcessKey {
    ProcessKey {
        pid: Pid(header.tgid),
        start_time,
    }
}

fn stamp(record: &SampleRecord) -> Result<SpanStamp, DecodeError> {
    let is_current = record.span_source == source::CONTEXT;
    match record.span_state {
        state::ACTIVE if is_current => Ok(SpanStamp::Current {
            span: SpanId::new(record.span_id).ok_or(DecodeError::NoSpanId)?,
            trace: TraceId::from_halves(record.trace_id_high, record.trace_id_low),
        }),
        state::CONTEXT_UNREADABLE => Ok(SpanStamp::Context(ContextFailure::Unreadable)),
        state::CONTEXT_UNEXPECTED => Ok(SpanStamp::Context(ContextFailure::Unexpected)),
        state::CONTEXT_TOO_LARGE => Ok(SpanStamp::Context(ContextFailure::TooLarge)),
        state::THREAD_STATE_UNKNOWN => Ok(SpanStamp::Context(ContextFailure::ThreadStateUnknown)),
        state::INTERPRETER_UNKNOWN => Ok(SpanStamp::Context(ContextFailure::InterpreterUnknown)),
        state::SPAN_CLASS_UNKNOWN => Ok(SpanStamp::Context(ContextFailure::ClassUnknown(
            record.span_class,
        ))),
        state::NOT_RECORDED => Ok(SpanStamp::NotRecorded(SpanId::new(record.span_id).map(
            |id| SpanIds {
                id,
                trace: TraceId::from_halves(record.trace_id_high, record.trace_id_low),
            },
        ))),
        state::NONE if is_current => Ok(SpanStamp::None),
        state::NONE => Ok(SpanStamp::EmptyStack),
        state::ACTIVE => {
            let span = SpanId::new(record.span_id).ok_or(DecodeError::NoSpanId)?;
            Ok(SpanStamp::Active {
                span,
                local_root: SpanId::new(record.local_root_id).unwrap_or(span),
                trace: TraceId::from_halves(record.trace_id_high, record.trace_id_low),
            })
        }
        state::NOT_NESTED => Ok(SpanStamp::NotNested),
        state::ENDED if is_current => Ok(SpanStamp::Ended),
        state::ENDED => SpanId::new(record.span_id)
            .map(SpanStamp::Stale)
            .ok_or(DecodeError::NoSpanId),
        state::TOO_DEEP => Ok(SpanStamp::TooDeep),
        value => Err(DecodeError::Value {
            field: "span state",
            value,
        }),
    }
}

fn code(bytes: &[u8]) -> Result<Event, DecodeError> {
    let (record, tail) = split::<CodeRecord>(bytes)?;
    let (name, tail) = split_bytes(tail, usize::from(record.name_size))?;
    let (file, tail) = split_bytes(tail, usize::from(record.file_size))?;
    let (table, _) = split_bytes(tail, record.table_size as usize)?;
    let has = |flag| record.flags & flag != 0;
    let string = |kind, bytes: &[u8], cut| PythonString {
        kind,
        bytes: bytes.to_vec(),
        cut,
    };
    let process = process_key(&record.header, record.process_start);
    let id = CodeId {
        address: record.code,
        checksum: record.checksum,
    };
    if record.table_offset != 0 {
        let offset = record.table_offset as usize;
        let is_cut = has(code_flags::TABLE_CUT);
        return Ok(Event::LineTable(LineTablePart {
            process,
            code: id,
            offset,
            bytes: table.to_vec(),
            is_last: has(code_flags::LAST_PART),
            is_cut,
        }));
    }
    Ok(Event::Code(Code {
        process,
        id,
        first_line: record.first_line,
        name: string(record.name_kind, name, has(code_flags::NAME_CUT)),
        file: string(record.file_kind, file, has(code_flags::FILE_CUT)),
        line_table_format: record.line_table_format,
        line_table: (!has(code_flags::TABLE_UNREADABLE)).then(|| table.to_vec()),
        line_table_cut: has(code_flags::TABLE_CUT),
    }))
}

fn span_start(bytes: &[u8]) -> Result<SpanStart, DecodeError> {
    let (record, _) = split::<SpanStartRecord>(bytes)?;
    let span = SpanId::new(record.span_id).ok_or(DecodeError::NoSpanId)?;
    Ok(SpanStart {
        time: BootNanos(record.header.time),
        pid: Pid(record.header.tgid),
        tid: Tid(record.header.tid),
        span,
        trace: TraceId::from_halves(record.trace_id_high, record.trace_id_low),
        parent: SpanId::new(record.parent_id),
        local_root: SpanId::new(record.local_root_id).unwrap_or(span),
        name: span_name(&record),
    })
}

fn span_seen(bytes: &[u8]) -> Result<SpanSeen, DecodeError> {
    let (record, _) = split::<SpanSeenRecord>(bytes)?;
    let has = |flag| record.flags & flag != 0;
    let parent = match SpanId::new(record.parent_id) {
        _ if has(seen::PARENT_UNKNOWN) => SpanParent::Unknown,
        Some(parent) if !has(seen::PARENT_IS_REMOTE) => SpanParent::Span(parent),
        _ => SpanParent::None,
    };
    let size = (record.name_size as usize).min(record.name.len());
    let kind = u8::try_from(record.name_kind).unwrap_or(0);
    let name = record.name.get(..size).filter(|_| kind != 0);
    Ok(SpanSeen {
        time: BootNanos(record.header.time),
        pid: Pid(record.header.tgid),
        span: SpanId::new(record.span_id).ok_or(DecodeError::NoSpanId)?,
        parent,
        local_root: SpanId::new(record.local_root_id),
        is_again: has(seen::AGAIN),
        name: name.and_then(|bytes| {
            let name = PythonString {
                kind,
                bytes: bytes.to_vec(),
                cut: has(seen::NAME_CUT),
            };
            name.to_span_name()
        }),
    })
}

/// The name, `None` if it is no text or could not be read. One that was cut says so, and loses a character
/// that was cut in the middle.
fn span_name(record: &SpanStartRecord) -> Option<Box<str>> {
    let size = record.name_size as usize;
    let is_lost = size == 0 && record.name_length > 0;
    if is_lost || record.flags & start::NAME_NOT_TEXT != 0 {
        return None;
    }
    let bytes = record.name.get(..size.min(record.name.len()))?;
    let is_cut = record.name_length > record.name_size;
    let text = match std::str::from_utf8(bytes) {
        Err(error) if is_cut && error.error_len().is_none() => {
            String::from_utf8_lossy(bytes.get(..error.valid_up_to())?)
        }
        _ => String::from_utf8_lossy(bytes),
    };
    Some(if is_cut {
        strings::span_name(&format!("{text}…"))
    } else {
        strings::span_name(&text)
    })
}

fn span_end(bytes: &[u8]) -> Result<SpanEnd, DecodeError> {
    let (record, _) = split::<SpanEndRecord>(bytes)?;
    Ok(SpanEnd {
        time: BootNanos(record.header.time),
        pid: Pid(record.header.tgid),
        tid: Tid(record.header.tid),
        span: SpanId::new(record.span_id).ok_or(DecodeError::NoSpanId)?,
    })
}

fn process_notice(bytes: &[u8]) -> Result<ProcessNotice, DecodeError> {
    let (record, _) = split::<ProcessRecord>(bytes)?;
    let what = match record.what {
        process::FORK => ProcessChange::Fork {
            parent: Pid(record.parent),
            start_time: record.start_time,
        },
        process::EXEC => ProcessChange::Exec,
        process::EXIT => ProcessChange::Exit,
        value => {
            return Err(DecodeError::Value {
                field: "process change",
                value,
            });
        }
    };
    Ok(ProcessNotice {
        time: BootNanos(record.header.time),
        pid: Pid(record.header.tgid),
        what,
    })
}

fn resource(bytes: &[u8]) -> Result<Resource, DecodeError> {
    let (record, _) = split::<ResourceRecord>(bytes)?;
    Ok(Resource::new(Pid(record.header.tgid), &record.block))
}

impl Resource {
    /// What the hook of a process says in its process block.
    pub fn new(pid: Pid, block: &HookProcess) -> Self {
        let text = |bytes: &[u8], size: u16| {
            let bytes = bytes.get(..usize::from(size)).unwrap_or(bytes);
            String::from_utf8_lossy(bytes).into_owned()
        };
        Self {
            pid,
            service_name: text(&block.service_name, block.service_name_size),
            service_namespace: text(&block.service_namespace, block.service_namespace_size),
            attributes: None,
        }
    }
}

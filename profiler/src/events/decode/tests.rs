//! Records as the kernel programs write them, and as nobody would.

use bytemuck::{Zeroable as _, bytes_of};
use profiler_common::{
    event::{Header, PythonFrame, SampleRecord, SpanStartRecord, kind, measure, start},
    limits::{INNERMOST_FRAMES, MAX_PYTHON_FRAMES, OUTERMOST_FRAMES},
    outcome::Outcome,
    walk::frame_slot,
};
use proptest::prelude::{any, prop, proptest};

use super::{DecodeError, decode};
use crate::{events::Event, measure::Measure};

fn span_start(name: &[u8], name_length: u32) -> SpanStartRecord {
    let mut record = SpanStartRecord {
        header: Header {
            kind: kind::SPAN_START,
            size: u32::try_from(size_of::<SpanStartRecord>()).unwrap(),
            ..Header::zeroed()
        },
        span_id: 7,
        name_length,
        name_size: u32::try_from(name.len()).unwrap(),
        ..SpanStartRecord::zeroed()
    };
    record.name[..name.len()].copy_from_slice(name);
    record
}

fn name_of(record: &SpanStartRecord) -> Option<String> {
    let Ok(Event::SpanStart(start)) = decode(bytes_of(record)) else {
        panic!("not a span start");
    };
    start.name.map(String::from)
}

/// A whole name comes whole, a cut one says so, an unreadable one is none, an empty one empty.
#[test]
fn span_names() {
    assert_eq!(
        name_of(&span_start("GET /ü".as_bytes(), 7)).as_deref(),
        Some("GET /ü")
    );
    assert_eq!(
        name_of(&span_start("ü".as_bytes(), 10_000)).as_deref(),
        Some("ü…")
    );
    let half = &"xü".as_bytes()[..2];
    assert_eq!(name_of(&span_start(half, 10_000)).as_deref(), Some("x…"));
    assert_eq!(name_of(&span_start(b"", 5)), None);
    assert_eq!(name_of(&span_start(b"", 0)).as_deref(), Some("(empty)"));
    assert_eq!(name_of(&span_start(b"a\n", 2)).as_deref(), Some("a\\n"));
    let not_text = SpanStartRecord {
        flags: start::NAME_NOT_TEXT,
        ..span_start(b"", 0)
    };
    assert_eq!(name_of(&not_text), None);
}

/// A span id of 0 and a record that claims more than it has are refused by name.
#[test]
fn refusals_have_names() {
    let mut record = span_start(b"x", 1);
    record.span_id = 0;
    assert_eq!(decode(bytes_of(&record)), Err(DecodeError::NoSpanId));
    record.header.size = 4096;
    let refused = decode(bytes_of(&record));
    assert_eq!(
        refused,
        Err(DecodeError::Size {
            said: 4096,
            has: size_of_val(&record)
        })
    );
    assert_eq!(decode(&[]), Err(DecodeError::Short));
}

/// A sample that claims more frames than it carries is refused.
#[test]
fn frames_must_be_there() {
    let record = SampleRecord {
        header: Header {
            kind: kind::SAMPLE,
            size: u32::try_from(size_of::<SampleRecord>()).unwrap(),
            ..Header::zeroed()
        },
        python_frames: u16::MAX,
        ..SampleRecord::zeroed()
    };
    assert_eq!(decode(bytes_of(&record)), Err(DecodeError::Short));
}

/// A sample that measures a kind of time that is not known is refused: its value cannot be summed with others.
#[test]
fn measures_must_be_known() {
    let record = SampleRecord {
        header: Header {
            kind: kind::SAMPLE,
            size: u32::try_from(size_of::<SampleRecord>()).unwrap(),
            ..Header::zeroed()
        },
        nanos: 7,
        measure: 9,
        ..SampleRecord::zeroed()
    };
    let refused = DecodeError::Value {
        field: "measure",
        value: 9,
    };
    assert_eq!(decode(bytes_of(&record)), Err(refused));
    let of_cpu = SampleRecord {
        measure: measure::CPU,
        ..record
    };
    let Ok(Event::Sample(sample)) = decode(bytes_of(&of_cpu)) else {
        panic!("not a sample");
    };
    assert_eq!(sample.measure, Measure::cpu(7));
}

proptest! {
    /// No bytes make the decoder panic.
    #[test]
    fn any_bytes_are_decoded_or_refused(
        kind in 0_u32..8,
        mut bytes in prop::collection::vec(any::<u8>(), 24..400),
    ) {
        bytes[..4].copy_from_slice(&kind.to_ne_bytes());
        let size = u32::try_from(bytes.len()).unwrap();
        bytes[4..8].copy_from_slice(&size.to_ne_bytes());
        let _ = decode(&bytes);
    }
}

/// Frames of a stack whose middle is left out come in order, however far the outermost have gone round; if the walk was
/// given up, only the innermost are left.
#[test]
fn the_outermost_frames_are_put_in_order() {
    for (omitted, outcome) in [
        (0, Outcome::Complete),
        (1, Outcome::Complete),
        (63, Outcome::Complete),
        (64, Outcome::Unreadable),
        (1000, Outcome::Complete),
        (1000, Outcome::Truncated),
    ] {
        let mut tail = [PythonFrame::zeroed(); MAX_PYTHON_FRAMES];
        for index in 0..u32::try_from(MAX_PYTHON_FRAMES).unwrap() + u32::from(omitted) {
            let is_outer = index >= u32::try_from(INNERMOST_FRAMES).unwrap();
            let slot = frame_slot(index, if is_outer { u32::MAX } else { 0 });
            let slot = usize::try_from(slot).unwrap();
            tail[slot].code = u64::from(index);
        }
        let record = SampleRecord {
            header: Header {
                kind: kind::SAMPLE,
                size: u32::try_from(size_of::<SampleRecord>() + size_of_val(&tail)).unwrap(),
                ..Header::zeroed()
            },
            python_frames: u16::try_from(tail.len()).unwrap(),
            python_frames_omitted: omitted,
            python_outcome: outcome as u32,
            ..SampleRecord::zeroed()
        };
        let bytes = [bytes_of(&record), bytes_of(&tail)].concat();
        let Ok(Event::Sample(sample)) = decode(&bytes) else {
            panic!("{:?}", decode(&bytes));
        };
        let found: Vec<u64> = sample
            .stack
            .python
            .iter()
            .map(|it| it.code.address)
            .collect();
        let is_whole = outcome != Outcome::Truncated;
        let outer = u64::try_from(INNERMOST_FRAMES).unwrap() + u64::from(omitted);
        let mut expected: Vec<u64> = (0..u64::try_from(INNERMOST_FRAMES).unwrap()).collect();
        if is_whole {
            expected.extend(outer..outer + u64::try_from(OUTERMOST_FRAMES).unwrap());
        }
        assert_eq!(found, expected, "{omitted}");
        let left_out = if is_whole { omitted } else { 0 };
        assert_eq!(sample.python_frames_omitted, left_out);
        let gap = sample.stack.python_gap;
        assert!(gap <= left_out && (left_out == 0 || u32::from(left_out) < 2 * u32::from(gap)));
    }
}

//! Records as the kernel programs write them, and as nobody would.

use bytemuck::{Zeroable as _, bytes_of};
use profiler_common::event::{Header, SampleRecord, SpanStartRecord, kind, measure, start};
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

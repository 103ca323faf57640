//! Scratch memory of the walk to the current span, and its result.

use crate::walk::Block;

/// Bytes of an object, or of its head: less than this.
const OBJECT_BLOCK: usize = 128;
/// Bytes read around an object: less than this.
const NEAR_BLOCK: usize = 256;
/// Bytes of dictionary entries read at once: more than `MAX_ATTRIBUTES` of the larger kind.
const ENTRIES_BLOCK: usize = 1024;

/// Scratch memory of the walk: too much for the kernel's stack.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ContextScratch {
    /// An object, or the head of one.
    pub object: Block<OBJECT_BLOCK>,
    /// An object with what lies behind it: a read costs the same, whatever its size.
    pub near: Block<NEAR_BLOCK>,
    /// The address of what `near` holds.
    pub near_start: u64,
    /// Bytes of it that are valid.
    pub near_size: u64,
    /// Keys of a dictionary, or their entries alone.
    pub entries: Block<ENTRIES_BLOCK>,
    /// Where the attributes of the span are.
    pub attributes: Attributes,
    /// What was found.
    pub span: FoundSpan,
    /// The span found last, in whichever process.
    pub last: LastSpan,
}

/// A span whose trace is known: a span with the same id and the same integer as its trace id is the same span.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct LastSpan {
    /// Its id.
    pub span_id: u64,
    /// The address of the integer that is its trace id.
    pub trace: u64,
    /// High half of that.
    pub trace_id_high: u64,
    /// Low half.
    pub trace_id_low: u64,
}

/// Where the attributes of a span are.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes {
    /// Values in the order of the class's keys; 0: in [`ContextScratch::entries`].
    pub values: u64,
    /// Where the entries start there.
    pub start: u64,
    /// Where they end.
    pub end: u64,
    /// Bytes of an entry.
    pub stride: u64,
}

/// The result of the walk.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FoundSpan {
    /// High half of the trace id.
    pub trace_id_high: u64,
    /// Low half.
    pub trace_id_low: u64,
    /// The span's id.
    pub span_id: u64,
    /// Address of its class.
    pub class: u64,
    /// Index of the class in the recipe.
    pub class_index: u64,
    /// Address of its context, a `SpanContext`.
    pub context: u64,
}

impl ContextScratch {
    /// Scratch memory with nothing in it.
    pub const fn zeroed() -> Self {
        Self {
            object: Block::zeroed(),
            near: Block::zeroed(),
            near_start: 0,
            near_size: 0,
            entries: Block::zeroed(),
            attributes: Attributes {
                values: 0,
                start: 0,
                end: 0,
                stride: 0,
            },
            last: LastSpan {
                span_id: 0,
                trace: 0,
                trace_id_high: 0,
                trace_id_low: 0,
            },
            span: FoundSpan {
                trace_id_high: 0,
                trace_id_low: 0,
                span_id: 0,
                class: 0,
                class_index: 0,
                context: 0,
            },
        }
    }
}

//! Span identifiers as they sit in maps and records.

use crate::{limits::MAX_SPAN_DEPTH, wire::record};

record! {
    /// A span that has started and not ended, in the map of live spans.
    ///
    /// Carries its own key: preallocated hash elements are recycled without a grace period, so a
    /// reader checks that what it found is what it asked for.
    LiveSpan: 48 bytes {
        /// Process (host thread group id): half of the key.
        tgid: u32,
        /// The thread that started it (host thread id).
        tid: u32,
        /// Span id, as the number whose 16 hex digits are the W3C id: half of the key.
        span_id: u64,
        /// High half of the trace id.
        trace_id_high: u64,
        /// Low half of the trace id.
        trace_id_low: u64,
        /// The parent's span id, 0 if there is none.
        parent_id: u64,
        /// The local root's span id; the span's own if it is the local root.
        local_root_id: u64,
    }

    /// Key of the map of live spans.
    LiveSpanKey: 16 bytes {
        /// Span id.
        span_id: u64,
        /// Process (host thread group id).
        tgid: u32,
        /// Always 0: makes the padding explicit.
        reserved: u32,
    }

    /// One entry of a thread's span stack.
    OpenSpan: 16 bytes {
        /// Span id.
        span_id: u64,
        /// Index of the entry where the unbroken chain of parents that ends in this entry begins:
        /// 0 says that every span below is an ancestor.
        chain_start: u32,
        /// Always 0: makes the padding explicit.
        reserved: u32,
    }

    /// The spans a thread has started and not ended, outermost first. Only the thread itself writes it; a span ended by
    /// another thread stays until the thread writes its stack again, and readers ask the map of live spans whether an
    /// entry is still open.
    SpanStack: 1040 bytes {
        /// The thread (host thread id): the key, again.
        tid: u32,
        /// Its process (host thread group id).
        tgid: u32,
        /// Entries in use.
        depth: u32,
        /// Spans opened beyond `MAX_SPAN_DEPTH` and not yet ended.
        overflow: u32,
        /// The entries.
        open: [OpenSpan; MAX_SPAN_DEPTH],
    }
}

/// Where the span of a sample was read from.
pub mod source {
    /// The span stack that the hook's probes keep.
    pub const STACK: u16 = 0;
    /// The interpreter's context.
    pub const CONTEXT: u16 = 1;
}

/// How the span of a sample was found, or why there is none. Stored in [`crate::event::SampleRecord`].
pub mod state {
    /// The thread has no stack, or nothing on it: it is in no span that the hook has seen.
    pub const NONE: u32 = 0;
    /// The record's span is the innermost open one, and all others open are its ancestors.
    pub const ACTIVE: u32 = 1;
    /// Spans are open that are not nested in one another, or whose ancestors have ended: an event loop, or spans that
    /// are not opened and closed as blocks are. Which one is running cannot be told from outside.
    pub const NOT_NESTED: u32 = 2;
    /// The context's span has ended; or each span left on the stack has ended, on another thread, or was evicted: then the
    /// record's span is the innermost of them.
    pub const ENDED: u32 = 3;
    /// More spans are open than `MAX_SPAN_DEPTH`.
    pub const TOO_DEEP: u32 = 4;
    /// Memory on the way to the current span is not resident.
    pub const CONTEXT_UNREADABLE: u32 = 5;
    /// Something on the way to the current span is not what the recipe says.
    pub const CONTEXT_UNEXPECTED: u32 = 6;
    /// The current span is of a class that the recipe does not know.
    pub const SPAN_CLASS_UNKNOWN: u32 = 7;
    /// A dictionary or collision node on the way has more entries than the walk reads.
    pub const CONTEXT_TOO_LARGE: u32 = 8;
    /// Nothing proves which thread state the thread runs in.
    pub const THREAD_STATE_UNKNOWN: u32 = 9;
    /// How to read spans in the interpreter that the thread runs in is not known (yet).
    pub const INTERPRETER_UNKNOWN: u32 = 10;
    /// The current span is one that this process does not record: no trace has it.
    pub const NOT_RECORDED: u32 = 11;
}

//! What crosses the ring. Every record starts with a [`Header`]; some have a variable tail.

use crate::{
    limits::{MAX_SERVICE_NAME, MAX_SPAN_NAME},
    wire::record,
};

/// Kinds of records, in [`Header::kind`].
pub mod kind {
    /// [`super::SampleRecord`], then kernel addresses, native addresses, Python frames.
    pub const SAMPLE: u32 = 1;
    /// [`super::CodeRecord`], then name, file name and line table.
    pub const CODE: u32 = 2;
    /// [`super::SpanStartRecord`].
    pub const SPAN_START: u32 = 3;
    /// [`super::SpanEndRecord`].
    pub const SPAN_END: u32 = 4;
    /// [`super::ProcessRecord`].
    pub const PROCESS: u32 = 5;
    /// [`super::ResourceRecord`].
    pub const RESOURCE: u32 = 6;
    /// [`super::SpanSeenRecord`].
    pub const SPAN_SEEN: u32 = 7;
}

/// Kinds of time that a sample measures, in [`SampleRecord::measure`].
pub mod measure {
    /// CPU time.
    pub const CPU: u16 = 0;
}

/// What the hook says of a span that has started, in [`SpanStartRecord::flags`].
pub mod start {
    /// Its name is no text, so there is none in the record.
    pub const NAME_NOT_TEXT: u64 = 1 << 2;
}

/// What is known of a span that was seen, in [`SpanSeenRecord::flags`].
pub mod seen {
    /// Its parent is in another process.
    pub const PARENT_IS_REMOTE: u32 = 1;
    /// Whether it has a parent is not known: an unsampled or a remote span.
    pub const PARENT_UNKNOWN: u32 = 2;
    /// The end of its name is missing.
    pub const NAME_CUT: u32 = 4;
    /// The agent was told of it before, and its name may be another one now.
    pub const AGAIN: u32 = 8;
}

/// What happened to a process, in [`ProcessRecord::what`].
pub mod process {
    /// It replaced its program.
    pub const EXEC: u32 = 1;
    /// Its last thread is gone.
    pub const EXIT: u32 = 2;
    /// It was forked from `parent`.
    pub const FORK: u32 = 3;
}

record! {
    /// The start of every record.
    Header: 24 bytes {
        /// One of [`kind`].
        kind: u32,
        /// Bytes of the whole record, this header and the tail included.
        size: u32,
        /// When, in nanoseconds of `CLOCK_BOOTTIME`.
        time: u64,
        /// Process (host thread group id).
        tgid: u32,
        /// Thread (host thread id).
        tid: u32,
    }

    /// A sample: what its thread was doing, and how much time that stands for. Tail: `python_frames` ×
    /// [`PythonFrame`], `kernel_frames` × u64, `native_frames` × u64, each leaf first; but if Python frames are left out,
    /// those behind the innermost start in their middle ([`crate::walk::frame_slot`]).
    SampleRecord: 120 bytes {
        /// Kind [`kind::SAMPLE`].
        header: Header,
        /// When the process started, in clock ticks since boot, as `/proc/PID/stat` has it.
        process_start: u64,
        /// Name of the thread (`comm`), NUL-padded.
        thread_name: [u8; 16],
        /// High half of the trace id of the active span.
        trace_id_high: u64,
        /// Low half of the trace id.
        trace_id_low: u64,
        /// The active span, 0 if none is known or wanted.
        span_id: u64,
        /// Its local root; 0 if the span was read from the thread's context, which does not hold one.
        local_root_id: u64,
        /// The class of the current span, with [`crate::span::state::SPAN_CLASS_UNKNOWN`].
        span_class: u64,
        /// How much time it stands for, in nanoseconds.
        nanos: u64,
        /// How the span was found, or why there is none: one of [`crate::span::state`].
        span_state: u32,
        /// How the Python walk ended: an [`crate::outcome::Outcome`] as a number.
        python_outcome: u32,
        /// How the native walk ended: an [`crate::outcome::Outcome`] as a number.
        native_outcome: u32,
        /// Kernel addresses in the tail.
        kernel_frames: u16,
        /// Native addresses in the tail.
        native_frames: u16,
        /// Python frames in the tail.
        python_frames: u16,
        /// Of which kind that time is: one of [`measure`].
        measure: u16,
        /// Where the span was read from: one of [`crate::span::source`].
        span_source: u16,
        /// Python frames left out between the innermost and the outermost.
        python_frames_omitted: u16,
    }

    /// A span that was current in a sample for the first time, as read from its object: sent before the sample.
    SpanSeenRecord: 336 bytes {
        /// Kind [`kind::SPAN_SEEN`].
        header: Header,
        /// High half of the trace id.
        trace_id_high: u64,
        /// Low half.
        trace_id_low: u64,
        /// The span.
        span_id: u64,
        /// Its parent, 0 if it has none.
        parent_id: u64,
        /// Its local root, if the hook has stored it in the span's context; 0 if not.
        local_root_id: u64,
        /// Bits of [`seen`].
        flags: u32,
        /// Bytes of the name that follow.
        name_size: u32,
        /// Bytes a character of the name has: 1, 2 or 4; 0 if there is no name to read.
        name_kind: u32,
        /// Always 0.
        reserved: u32,
        /// The name as CPython stores it.
        name: [u8; 256],
    }

    /// One Python frame of a sample.
    PythonFrame: 16 bytes {
        /// Address of the code object.
        code: u64,
        /// Mix of the code object's fields: distinguishes a reused address from the same code.
        checksum: u32,
        /// Offset of the current instruction in the code, in bytes; negative before the first.
        instruction: i32,
    }

    /// A code object seen for the first time. Tail: name, file name and line table, in that order,
    /// as many bytes as the fields say.
    CodeRecord: 64 bytes {
        /// Kind [`kind::CODE`].
        header: Header,
        /// As in [`SampleRecord::process_start`].
        process_start: u64,
        /// Address of the code object.
        code: u64,
        /// As in [`PythonFrame::checksum`].
        checksum: u32,
        /// `co_firstlineno`.
        first_line: i32,
        /// Bytes of the qualified name (of the name before 3.11).
        name_size: u16,
        /// Bytes of the file name.
        file_size: u16,
        /// Bytes of the line table.
        table_size: u32,
        /// Bytes a character has in the name: 1, 2 or 4; 0 if it could not be read.
        name_kind: u8,
        /// Bytes a character has in the file name; 0 if it could not be read.
        file_kind: u8,
        /// What was cut, [`code_flags`].
        flags: u8,
        /// The layout's [`crate::python::PythonLayout::line_table_format`].
        line_table_format: u8,
        /// Where in the line table its bytes in this record belong. If that is not 0, the record continues another one, and
        /// has no names.
        table_offset: u32,
    }

    /// A span has started (probe `span_start`, see `python/ABI.md`).
    SpanStartRecord: 208 bytes {
        /// Kind [`kind::SPAN_START`].
        header: Header,
        /// High half of the trace id.
        trace_id_high: u64,
        /// Low half of the trace id.
        trace_id_low: u64,
        /// Span id.
        span_id: u64,
        /// The parent's span id, 0 if there is none.
        parent_id: u64,
        /// The local root's span id.
        local_root_id: u64,
        /// Bit 0 sampled, bit 1 remote parent; [`start::NAME_NOT_TEXT`].
        flags: u64,
        /// Bytes the name has in the application.
        name_length: u32,
        /// Bytes of it in `name`: less than `name_length` if the name was cut, 0 if unreadable.
        name_size: u32,
        /// The name's first bytes; UTF-8, but a character may be cut.
        name: [u8; MAX_SPAN_NAME],
    }

    /// A span has ended (probe `span_end`).
    SpanEndRecord: 32 bytes {
        /// Kind [`kind::SPAN_END`].
        header: Header,
        /// Span id.
        span_id: u64,
    }

    /// A process has come, changed or gone.
    ProcessRecord: 40 bytes {
        /// Kind [`kind::PROCESS`].
        header: Header,
        /// One of [`process`].
        what: u32,
        /// For a fork: the parent (host thread group id).
        parent: u32,
        /// For a fork: when the child started, in clock ticks since boot.
        start_time: u64,
    }

    /// The OpenTelemetry resource of a process, as its hook reports it: shipped once per process.
    ResourceRecord: 544 bytes {
        /// Kind [`kind::RESOURCE`].
        header: Header,
        /// The hook's process block.
        block: HookProcess,
    }

    /// The process block of the hook, as `python/ABI.md` lays it out.
    HookProcess: 520 bytes {
        /// The ABI's version: 1.
        abi_version: u32,
        /// Bytes of `service_name` in use.
        service_name_size: u16,
        /// Bytes of `service_namespace` in use.
        service_namespace_size: u16,
        /// `service.name`, UTF-8.
        service_name: [u8; MAX_SERVICE_NAME],
        /// `service.namespace`, UTF-8.
        service_namespace: [u8; MAX_SERVICE_NAME],
    }
}

/// Bits of [`CodeRecord::flags`].
pub mod code_flags {
    /// The name was longer than [`crate::limits::MAX_CODE_NAME`].
    pub const NAME_CUT: u8 = 1;
    /// The file name was longer than [`crate::limits::MAX_CODE_FILE`].
    pub const FILE_CUT: u8 = 2;
    /// The line table goes on behind what is in the record.
    pub const TABLE_CUT: u8 = 4;
    /// The line table could not be read.
    pub const TABLE_UNREADABLE: u8 = 8;
    /// No further part of the line table comes, whether it goes on or not.
    pub const LAST_PART: u8 = 16;
}

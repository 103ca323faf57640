//! End-to-end tests that record their own processes and count samples: they run side by side.
//!
//! Must not be here: a test whose outcome a neighbour can change, because it counts what others do, watches
//! probes that others switch on, or measures time. Those are in `alone`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests panic like tests, and tell what was measured"
)]

mod attached;
mod blocked;
mod blocked_files;
mod copied;
mod coverage;
mod deep_stacks;
mod errors;
mod flask;
mod forked_spans;
mod go_pprof;
mod large_programs;
mod long_functions;
mod machinery;
mod matrix;
mod moved_text;
mod nested;
mod networks;
mod not_recorded;
mod odd_spans;
mod old_kernels;
mod owner;
mod pretender;
mod private_mount;
mod pyroscope_sdk;
mod refusals;
mod renamed;
mod right_span;
mod rights;
mod short_lived;
mod span_names;
mod thread_states;
mod unexported;
mod wrapped_spans;

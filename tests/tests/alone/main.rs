//! End-to-end tests that record the whole host, watch what others would change, or measure time: they run
//! one at a time.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "helpers of tests panic like tests, and tell what was measured"
)]

mod agent;
mod agent_server;
mod daemonset;
mod discovery;
mod example;
mod export;
mod hook_probes;
mod hostile;
mod hosts;
mod namespaces;
mod native_frames;
mod ordinary_user;
mod pyroscope_sdk;
mod telemetry;
mod two_requests;

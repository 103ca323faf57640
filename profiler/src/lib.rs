//! The agent of spanprof: which lines of Python burn the CPU of which trace span.
//!
//! Data flows one way, one type per stage, and each room imports the type it eats:
//!
//! ```text
//!  kernel ──ring──▶ events ──Event──▶ join ──SpanSample──▶ symbolize ──NamedSample──▶ profile ──Profile──▶ export
//!     ▲                │ process notices                        ▲
//!     │ offsets, probes▼                                        │ snapshot
//!     └──────────── targets ────────────────────────────────────┘          health: every loss, from every room
//! ```

pub mod agent;
pub mod arch;
pub mod by_process;
pub mod cli;
pub mod config;
pub mod doctor;
pub mod events;
pub mod export;
pub mod health;
pub mod host;
pub mod id;
pub mod join;
pub mod kernel;
pub mod measure;
pub mod output;
pub mod pipeline;
pub mod profile;
pub mod record;
pub mod rights;
pub mod run;
pub mod runtime;
pub mod signals;
pub mod symbolize;
pub mod targets;
pub mod telemetry;
pub mod time;
pub mod version;

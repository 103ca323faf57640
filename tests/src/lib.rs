//! The harness of the end-to-end tests.

pub mod agent;
pub mod certificates;
pub mod compile;
pub mod container;
pub mod embedding;
pub mod example;
pub mod grafana;
pub mod http;
mod listen;
pub mod made_up;
pub mod matrix;
pub mod oracle;
pub mod peers;
pub mod pod;
pub mod pretend_pyroscope;
pub mod process;
pub mod profile;
pub mod proxy;
pub mod python;
pub mod rights;
pub mod sampling;
pub mod shop;
pub mod spanprof;
pub mod stopped;
pub mod tls;
pub mod traces;

pub use launcher::skip;

//! The one tokio runtime: for what waits for a network, a person or a signal. The sampling side runs on
//! threads of its own, without it.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// Threads of the runtime.
const WORKERS: usize = 2;

/// Starts it.
pub fn start() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("spanprof-io")
        .enable_all()
        .build()
}

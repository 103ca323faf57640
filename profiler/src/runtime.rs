//! The one tokio runtime: for what waits for a network, a person or a signal. The sampling side runs on
//! threads of its own, without it.

use std::io;

use tokio::runtime::{Builder, Runtime};

use crate::rights::{Thread, keep_for};

/// Threads of the runtime.
const WORKERS: usize = 2;

/// Starts it; its threads hold no capabilities.
pub fn start() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("spanprof-io")
        .on_thread_start(|| keep_for(Thread::Plain))
        .enable_all()
        .build()
}

//! Empty: cargo rebuilds the agent when a *library* it depends on changes, and the kernel programs
//! are a binary. `profiler/build.rs` builds that one.
#![no_std]

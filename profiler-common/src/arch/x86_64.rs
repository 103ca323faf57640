//! x86-64.

/// See [`Architecture`](super::Architecture).
#[derive(Clone, Copy, Debug)]
pub struct X86_64;

impl super::Architecture for X86_64 {
    const PAGE: u64 = 4096;
    /// With five levels of page tables.
    const USER_END: u64 = 1 << 56;
    const THREAD_VECTOR: u64 = 8;
    const CALLER_FRAME: u16 = 0;
    const RETURN_ADDRESS: u16 = 8;
    const FRAME_RECORD: u64 = 16;
}

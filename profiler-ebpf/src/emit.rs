//! Putting records on the ring. Most records do not wake the reader: it drains on a timer, since a wake-up costs fifty
//! times the submit. A record that the agent must act on wakes it, and so does a ring that fills.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns, bpf_ringbuf_output},
};
use profiler_common::{counter::Counter, event::Header};

use crate::{config, count::bump, maps::EVENTS};

/// Submit without waking the reader.
pub(crate) const QUIET: u64 = BPF_RB_NO_WAKEUP as u64;

/// Submit, and wake the reader. Without force the kernel wakes only a reader that has read everything
/// before this record.
pub(crate) const WAKE: u64 = BPF_RB_FORCE_WAKEUP as u64;

/// Wakes the reader once a quarter of the ring is full.
#[inline(always)]
pub(crate) fn wake_if_filling() -> u64 {
    let full = EVENTS.query(u64::from(BPF_RB_AVAIL_DATA));
    if full >= u64::from(config::wake_at()) {
        WAKE
    } else {
        QUIET
    }
}

/// The header of a record of the current thread.
#[inline(always)]
pub(crate) fn header(kind: u32, size: u32) -> Header {
    // SAFETY: the helper has no arguments and cannot fail.
    let id = unsafe { bpf_get_current_pid_tgid() };
    header_of((id >> 32) as u32, id as u32, kind, size)
}

/// The header of a record of a thread.
#[inline(always)]
pub(crate) fn header_of(tgid: u32, tid: u32, kind: u32, size: u32) -> Header {
    // SAFETY: the helper has no arguments and cannot fail.
    let time = unsafe { bpf_ktime_get_boot_ns() };
    Header {
        kind,
        size,
        time,
        tgid,
        tid,
    }
}

/// Copies a record of variable length to the ring; `wake` is [`QUIET`] or [`WAKE`].
///
/// # Safety
/// `size` bytes can be read at `record`.
#[inline(always)]
pub(crate) unsafe fn copy(record: *const u8, size: u32, wake: u64, full: Counter) -> bool {
    // SAFETY: as the caller promises; the verifier checks it once more.
    let failed = unsafe {
        bpf_ringbuf_output(
            (&raw const EVENTS).cast_mut().cast(),
            record.cast_mut().cast(),
            u64::from(size),
            wake,
        )
    };
    if failed != 0 {
        bump(full);
    }
    failed == 0
}

//! The kernel side: entry points only. Each calls one job; jobs call tools; tools touch maps.
//!
//! Never here: uretprobes, `bpf_probe_write_user`, `bpf_get_stack` with the user flag (it has
//! panicked hosts beside uprobes before Linux 6.13), a wake-up of the reader from inside a probe.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(
    unreachable_pub,
    missing_docs,
    clippy::needless_pass_by_value,
    reason = "aya's macros make the entry points, which the lints do not see"
)]
#![expect(
    clippy::inline_always,
    reason = "a call passes five arguments at most in BPF, and costs where nothing else does"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "BPF has one kind of register, 64 bits wide; sizes are bounded before they are narrowed"
)]
#![expect(
    clippy::cast_ptr_alignment,
    reason = "scratches are aligned to 8 bytes, and so is every offset in them"
)]
#![expect(clippy::similar_names, reason = "tid and tgid are the kernel's names")]
#![allow(
    linker_messages,
    reason = "bpf-linker tells which LLVM it tries before the one it has"
)]

mod arch;
mod code;
mod codes;
mod config;
mod context;
mod count;
mod emit;
mod kernel;
mod maps;
mod native;
mod process;
mod python;
mod sample;
mod scratch;
mod span;
mod stage;
mod task;
mod user;
mod verifier;

use aya_ebpf::{
    EbpfContext as _,
    macros::{perf_event, raw_tracepoint, uprobe},
    programs::{PerfEventContext, ProbeContext, RawTracePointContext},
};

use self::kernel::{Looping, Unrolling};

/// One hit of the sampling clock.
#[perf_event]
pub fn sample(context: PerfEventContext) -> u32 {
    sample::take::<Looping>(&context);
    0
}

/// The same, for kernels without `bpf_loop`. One of the two is loaded.
#[perf_event]
pub fn sample_unrolled(context: PerfEventContext) -> u32 {
    sample::take::<Unrolling>(&context);
    0
}

/// The second half of [`sample_unrolled`]: older verifiers cannot follow both halves in one program.
#[perf_event]
pub fn sample_span(_context: PerfEventContext) -> u32 {
    sample::find_span::<Unrolling>();
    0
}

/// The hook's probe `span_start` (`python/ABI.md`).
#[uprobe]
pub fn span_start(context: ProbeContext) -> u32 {
    span::start(&context);
    0
}

/// The hook's probe `span_end` (`python/ABI.md`).
#[uprobe]
pub fn span_end(context: ProbeContext) -> u32 {
    span::end(&context);
    0
}

/// [`span_start`] for a link that holds all sites of a file: Linux 6.6 and later. One of the two is loaded.
#[uprobe(multi)]
pub fn span_start_multi(context: ProbeContext) -> u32 {
    span::start(&context);
    0
}

/// [`span_end`] for such a link.
#[uprobe(multi)]
pub fn span_end_multi(context: ProbeContext) -> u32 {
    span::end(&context);
    0
}

/// `sched_process_fork(parent, child)`: threads are created here too.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
pub fn process_fork(context: RawTracePointContext) -> i32 {
    process::forked(context.arg(1));
    0
}

/// `sched_process_exec(task, old_pid, bprm)`.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
pub fn process_exec(context: RawTracePointContext) -> i32 {
    process::executed(context.tgid(), context.pid());
    0
}

/// `sched_process_exit(task)`: once for each thread.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
pub fn process_exit(context: RawTracePointContext) -> i32 {
    process::exited(context.tgid(), context.pid());
    0
}

/// What a kernel asks of programs that use its GPL-only helpers.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_information: &core::panic::PanicInfo) -> ! {
    loop {}
}

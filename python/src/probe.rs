//! The two USDT probes. `ABI.md` is the contract; this is the only place that knows the registers.
//!
//! A probe is one nop in the code and one note beside it. If no probe is attached, a hit costs the nop.
//! The note follows version 3 of `SystemTap`'s format, what `sys/sdt.h` emits, so `bpftrace` and
//! `perf` find the probes as well.

use std::sync::atomic::{AtomicBool, Ordering};

/// What `span_start` carries, in the order of its arguments.
#[cfg_attr(
    not(all(
        target_os = "linux",
        any(target_arch = "x86_64", target_arch = "aarch64")
    )),
    expect(
        dead_code,
        reason = "read only by the probe, which this platform does not have"
    )
)]
pub(crate) struct SpanStart {
    /// The first 16 hex digits of the trace id.
    pub(crate) trace_id_high: u64,
    /// The last 16 hex digits of the trace id.
    pub(crate) trace_id_low: u64,
    /// The span's own id.
    pub(crate) span_id: u64,
    /// The parent's span id, 0 if there is none.
    pub(crate) parent_span_id: u64,
    /// The span id of the topmost span above this one in the process.
    pub(crate) local_root_span_id: u64,
    /// Address of the name, in UTF-8 and without a terminating NUL. Valid for the hit only.
    pub(crate) name: u64,
    /// How many bytes the name has.
    pub(crate) name_size: u64,
    /// [`FLAG_SAMPLED`], [`FLAG_REMOTE_PARENT`] and [`FLAG_NAME_NOT_TEXT`].
    pub(crate) flags: u64,
    /// Address of the process block, 0 if it is not written yet.
    pub(crate) process_block: u64,
}

/// The span is sampled: it will reach a tracing backend.
pub(crate) const FLAG_SAMPLED: u64 = 1;
/// The span's parent lives in another process.
pub(crate) const FLAG_REMOTE_PARENT: u64 = 1 << 1;
/// The name is no text, so its size is 0.
pub(crate) const FLAG_NAME_NOT_TEXT: u64 = 1 << 2;

/// The site and its note. `$nop` is the instruction a probe replaces, `$arguments` the note's argument
/// string.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
macro_rules! probe {
    ($name:literal, $nop:literal, $arguments:literal, $($operand:tt)*) => {
        core::arch::asm!(
            concat!(".globl spanprof_site_", $name),
            concat!(".hidden spanprof_site_", $name),
            concat!("spanprof_site_", $name, ":"),
            "990:",
            $nop,
            r#".pushsection .note.stapsdt,"?","note""#,
            ".balign 4",
            ".4byte 992f-991f, 994f-993f, 3",
            r#"991: .asciz "stapsdt""#,
            "992: .balign 4",
            "993: .8byte 990b",
            ".8byte _.stapsdt.base",
            // No semaphore: the hook does its work with and without a listener.
            ".8byte 0",
            r#".asciz "spanprof""#,
            concat!(".asciz \"", $name, "\""),
            concat!(".asciz \"", $arguments, "\""),
            "994: .balign 4",
            ".popsection",
            // Tools subtract this address to undo prelinking, as in `sys/sdt.h`. Retained (`R`), because a
            // linker that drops unused sections does not count a note as a use.
            ".ifndef _.stapsdt.base",
            r#".pushsection .stapsdt.base,"aGR","progbits",.stapsdt.base,comdat"#,
            ".weak _.stapsdt.base",
            ".hidden _.stapsdt.base",
            "_.stapsdt.base: .space 1",
            ".size _.stapsdt.base, 1",
            ".popsection",
            ".endif",
            // Not `nomem`: the agent reads the memory that the arguments point to.
            $($operand)*
            options(preserves_flags, nostack),
        )
    };
}

/// Set by tests that need the probes to fire without a listener.
static FORCED: AtomicBool = AtomicBool::new(false);

/// Makes [`span_start_wanted`] and [`span_end_wanted`] answer yes, for tests.
pub(crate) fn force(forced: bool) {
    FORCED.store(forced, Ordering::Relaxed);
}

#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
unsafe extern "C" {
    // Defined by the asm below.
    static spanprof_site_span_start: u8;
    static spanprof_site_span_end: u8;
}

/// The first byte of the nop, in memory. A probe is an instruction written over it, and differs
/// there: `int3` on x86-64, `brk` on aarch64.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
const NOP_FIRST_BYTE: u8 = 0x90;
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
const NOP_FIRST_BYTE: u8 = 0x1f;

/// Whether a probe is attached to `span_start`. A semaphore would say the same, but the agent would have
/// to write it. A span that starts while the probe is being attached may be missed.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub(crate) fn span_start_wanted() -> bool {
    // SAFETY: the symbol is the site, one readable byte of this file's text. Volatile, because the
    // kernel changes it.
    let byte = unsafe { (&raw const spanprof_site_span_start).read_volatile() };
    byte != NOP_FIRST_BYTE || FORCED.load(Ordering::Relaxed)
}

/// Whether a probe is attached to `span_end`.
#[cfg(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
))]
pub(crate) fn span_end_wanted() -> bool {
    // SAFETY: as in `span_start_wanted`.
    let byte = unsafe { (&raw const spanprof_site_span_end).read_volatile() };
    byte != NOP_FIRST_BYTE || FORCED.load(Ordering::Relaxed)
}

/// Whether a probe is attached to `span_start`: this platform has none.
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
pub(crate) fn span_start_wanted() -> bool {
    FORCED.load(Ordering::Relaxed)
}

/// Whether a probe is attached to `span_end`: this platform has none.
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
pub(crate) fn span_end_wanted() -> bool {
    FORCED.load(Ordering::Relaxed)
}

/// Fires `span_start`.
// Never inlined: the contract is one site, in a function that a test can disassemble.
#[inline(never)]
#[allow(
    named_asm_labels,
    reason = "one site per probe: a second one must fail to assemble"
)]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) fn span_start(start: &SpanStart) {
    // SAFETY: the asm is a nop that reads nothing and changes nothing; a uprobe on it traps into the
    // kernel, which restores every register.
    unsafe {
        probe!(
            "span_start",
            ".byte 0x90",
            "8@%rdi 8@%rsi 8@%rdx 8@%rcx 8@%r8 8@%r9 8@%r10 8@%r12 8@%r13",
            in("rdi") start.trace_id_high,
            in("rsi") start.trace_id_low,
            in("rdx") start.span_id,
            in("rcx") start.parent_span_id,
            in("r8") start.local_root_span_id,
            in("r9") start.name,
            in("r10") start.name_size,
            in("r12") start.flags,
            in("r13") start.process_block,
        );
    }
}

/// Fires `span_end`.
#[inline(never)]
#[allow(
    named_asm_labels,
    reason = "one site per probe: a second one must fail to assemble"
)]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) fn span_end(span_id: u64, trace_id_high: u64, trace_id_low: u64) {
    // SAFETY: as in `span_start`.
    unsafe {
        probe!(
            "span_end",
            ".byte 0x90",
            "8@%rdi 8@%rsi 8@%rdx",
            in("rdi") span_id,
            in("rsi") trace_id_high,
            in("rdx") trace_id_low,
        );
    }
}

/// Fires `span_start`.
#[inline(never)]
#[allow(
    named_asm_labels,
    reason = "one site per probe: a second one must fail to assemble"
)]
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
pub(crate) fn span_start(start: &SpanStart) {
    // SAFETY: the asm is a nop that reads nothing and changes nothing; a uprobe on it traps into
    // the kernel, which restores every register.
    unsafe {
        probe!(
            "span_start",
            "nop",
            "8@x0 8@x1 8@x2 8@x3 8@x4 8@x5 8@x6 8@x7 8@x8",
            in("x0") start.trace_id_high,
            in("x1") start.trace_id_low,
            in("x2") start.span_id,
            in("x3") start.parent_span_id,
            in("x4") start.local_root_span_id,
            in("x5") start.name,
            in("x6") start.name_size,
            in("x7") start.flags,
            in("x8") start.process_block,
        );
    }
}

/// Fires `span_end`.
#[inline(never)]
#[allow(
    named_asm_labels,
    reason = "one site per probe: a second one must fail to assemble"
)]
#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
pub(crate) fn span_end(span_id: u64, trace_id_high: u64, trace_id_low: u64) {
    // SAFETY: as in `span_start`.
    unsafe {
        probe!(
            "span_end",
            "nop",
            "8@x0 8@x1 8@x2",
            in("x0") span_id,
            in("x1") trace_id_high,
            in("x2") trace_id_low,
        );
    }
}

/// Fires nothing: the agent runs on Linux, on the two architectures above.
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
pub(crate) fn span_start(_start: &SpanStart) {}

/// Fires nothing: the agent runs on Linux, on the two architectures above.
#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "aarch64")
)))]
pub(crate) fn span_end(_span_id: u64, _trace_id_high: u64, _trace_id_low: u64) {}

//! x86-64.

use aya_ebpf::programs::{PerfEventContext, ProbeContext};
use profiler_common::walk::Registers;

use super::{Architecture, SpanStart};

/// Low bits of the code segment: 3 in user mode.
const PRIVILEGE: u64 = 3;

pub(crate) struct X86_64;

impl Architecture for X86_64 {
    #[inline(always)]
    fn user_mode(context: &PerfEventContext) -> Option<Registers> {
        // SAFETY: the context is valid for the whole program; the verifier checks each load.
        let (code_segment, registers) = unsafe {
            let registers = &raw const (*context.ctx).regs;
            let interrupted = Registers {
                instruction: (*registers).rip,
                stack: (*registers).rsp,
                frame: (*registers).rbp,
            };
            ((*registers).cs, interrupted)
        };
        (code_segment & PRIVILEGE == PRIVILEGE).then_some(registers)
    }

    #[inline(always)]
    fn span_start(context: &ProbeContext) -> SpanStart {
        // SAFETY: as above.
        let registers = unsafe { &*context.regs };
        SpanStart {
            trace_id_high: registers.rdi,
            trace_id_low: registers.rsi,
            span_id: registers.rdx,
            parent_id: registers.rcx,
            local_root_id: registers.r8,
            name: registers.r9,
            name_length: registers.r10,
            flags: registers.r12,
            process_block: registers.r13,
        }
    }

    #[inline(always)]
    fn span_end(context: &ProbeContext) -> u64 {
        // SAFETY: as above.
        unsafe { (*context.regs).rdi }
    }
}

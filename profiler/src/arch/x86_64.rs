//! x86-64.

use object::elf;

use super::{Architecture, Member};

pub(super) use profiler_common::arch::Machine as X86_64;

impl Architecture for X86_64 {
    const ELF_MACHINE: elf::Machine = elf::EM_X86_64;
    const ADDRESS_OF_SYMBOL: elf::RelocationType = elf::R_X86_64_GLOB_DAT;
    const COPY_OF_SYMBOL: elf::RelocationType = elf::R_X86_64_COPY;
    const THREAD_POINTER: Member = &["task_struct", "thread", "fsbase"];
    const INSTRUCTION: Member = &["pt_regs", "ip"];
    const STACK: Member = &["pt_regs", "sp"];
    const FRAME: Member = &["pt_regs", "bp"];
    /// `arch/x86/include/asm/page_64_types.h`, without KASAN.
    const KERNEL_STACK: u32 = 16 * 1024;
    const NOP: &'static [u8] = &[0x90];
    const LONG_NOP: Option<&'static [u8]> = Some(&[0x0f, 0x1f, 0x44, 0x00, 0x00]);
    /// Linux 6.18 and later replace such a nop, when it has been hit once, by a call of a page that they map into the
    /// process. A forked child has the call and not the page: `arch/x86/kernel/uprobes.c` maps it with
    /// `VM_DONTCOPY`. The series that mends it ("uprobes/x86: Allow to copy uprobe trampolines on fork", July 2026)
    /// also makes calls of no 5-byte nop any more, and drops the list of those pages. So it is the list that tells,
    /// whatever a distribution has backported.
    const CALLS_CRASH_CHILDREN: Option<Member> = Some(&["uprobes_state", "head_tramps"]);
    const START_ARGUMENTS: &'static [u8] =
        b"8@%rdi 8@%rsi 8@%rdx 8@%rcx 8@%r8 8@%r9 8@%r10 8@%r12 8@%r13";
    const END_ARGUMENTS: &'static [u8] = b"8@%rdi 8@%rsi 8@%rdx";
}

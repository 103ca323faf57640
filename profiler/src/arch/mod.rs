//! What a machine is to the agent: what its kernel calls things, and what files are like. `profiler_common::arch` has
//! what the kernel programs must know, too, and says what another architecture needs.

mod x86_64;

use object::elf;

pub use profiler_common::arch::Architecture as Common;

/// A member of a kernel's structure, as a path of names from the structure on.
pub type Member = &'static [&'static str];

/// What an architecture tells.
pub trait Architecture: Common {
    /// `e_machine` of its ELF files.
    const ELF_MACHINE: elf::Machine;
    /// The relocation of a word into which the loader writes the address of a symbol.
    const ADDRESS_OF_SYMBOL: elf::RelocationType;
    /// The relocation of an object that the loader copies into a program out of the library that defines it.
    const COPY_OF_SYMBOL: elf::RelocationType;

    /// The thread pointer of a task.
    const THREAD_POINTER: Member;

    /// The instruction pointer among the registers that the kernel saves of a thread.
    const INSTRUCTION: Member;
    /// The stack pointer.
    const STACK: Member;
    /// The frame pointer.
    const FRAME: Member;

    /// Bytes of a kernel stack, at whose top those registers lie. Used where no helper finds them (before Linux
    /// 5.15).
    const KERNEL_STACK: u32;

    /// The instruction of a probe's site, which every kernel emulates: to single-step another costs forty times as
    /// much.
    const NOP: &'static [u8];
    /// That of earlier packages, which kernels emulate as well, or make a call of.
    const LONG_NOP: Option<&'static [u8]>;
    /// What kernels have that make such a call, and leave it out of the children that a process forks; `None` where
    /// no kernel does.
    const CALLS_CRASH_CHILDREN: Option<Member>;

    /// Arguments of the probe `span_start`, as a note of it says where they are.
    const START_ARGUMENTS: &'static [u8];
    /// Those of `span_end`.
    const END_ARGUMENTS: &'static [u8];
}

/// The machine that the agent runs on.
#[cfg(target_arch = "x86_64")]
pub type Machine = x86_64::X86_64;

/// Whether an address is one that a process can have: neither of the first page nor the kernel's.
pub fn is_user(address: u64) -> bool {
    (Machine::PAGE..Machine::USER_END).contains(&address)
}

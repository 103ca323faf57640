//! Reading the kernel's own structures, by offsets from its BTF.

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_task_pt_regs,
};
use profiler_common::walk::Registers;

use crate::config;

/// Nanoseconds in one clock tick of procfs (`USER_HZ` is 100 on every architecture we run on).
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

/// Offsets in `pt_regs` of x86-64, which is part of the kernel's interface to user space.
const REGISTER_FRAME: u64 = 4 * 8;
const REGISTER_INSTRUCTION: u64 = 16 * 8;
const REGISTER_STACK: u64 = 19 * 8;
const REGISTERS_SIZE: u64 = 21 * 8;

/// Reads a value of the kernel; 0 where it cannot be read.
#[inline(always)]
pub(crate) fn read<T: Default>(address: u64) -> T {
    let mut value = T::default();
    // SAFETY: the helper checks the source and zeroes the destination when it fails; the callers
    // read integers only.
    unsafe {
        bpf_probe_read_kernel(
            (&raw mut value).cast(),
            size_of::<T>() as u32,
            address as *const _,
        )
    };
    value
}

/// Address of the current task.
#[inline(always)]
pub(crate) fn current() -> u64 {
    // SAFETY: the helper has no arguments and cannot fail.
    unsafe { bpf_get_current_task() }
}

/// When a task started, in clock ticks since boot.
#[inline(always)]
pub(crate) fn start_time(task: u64) -> u64 {
    read::<u64>(task + u64::from(config::task_start())) / NANOSECONDS_PER_TICK
}

/// The current thread's thread pointer: what `pthread_self()` returns.
#[inline(always)]
pub(crate) fn thread_pointer() -> u64 {
    read(current() + u64::from(config::task_thread_pointer()))
}

/// Whether the current thread is the last of its process to exit.
#[inline(always)]
pub(crate) fn is_last_thread() -> bool {
    let signal: u64 = read(current() + u64::from(config::task_signal()));
    read::<u32>(signal + u64::from(config::signal_live())) == 0
}

/// The user registers of the current thread, which is in the kernel now: they lie at the top of
/// its kernel stack.
#[inline(always)]
pub(crate) fn user_registers() -> Registers {
    let registers = if config::has_task_registers() != 0 {
        // SAFETY: the current task is always valid.
        unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) as u64 }
    } else {
        let stack: u64 = read(current() + u64::from(config::task_stack()));
        stack + u64::from(config::stack_size()) - REGISTERS_SIZE
    };
    Registers {
        instruction: read(registers + REGISTER_INSTRUCTION),
        stack: read(registers + REGISTER_STACK),
        frame: read(registers + REGISTER_FRAME),
    }
}

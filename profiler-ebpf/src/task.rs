//! Reading the kernel's own structures, by offsets from its BTF.

use core::{marker::PhantomData, mem::transmute};

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_task_pt_regs,
};
use profiler_common::walk::Registers;

use crate::{config, kernel::Kernel};

/// Nanoseconds in one clock tick of procfs (`USER_HZ` is 100 on every architecture we run on).
const NANOSECONDS_PER_TICK: u64 = 10_000_000;

/// Reads a value of the kernel; 0 if it cannot be read.
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
fn current() -> u64 {
    // SAFETY: the helper has no arguments and cannot fail.
    unsafe { bpf_get_current_task() }
}

/// The current thread. Newer kernels know the type of its task, and let a program load the fields without a
/// helper, which costs less.
pub(crate) struct Thread<K> {
    task: *const u8,
    kernel: PhantomData<K>,
}

impl<K: Kernel> Thread<K> {
    #[inline(always)]
    pub(crate) fn current() -> Self {
        let task = if K::HAS_TYPED_TASK {
            // SAFETY: the helper has no arguments and cannot fail.
            unsafe { bpf_get_current_task_btf() }.cast()
        } else {
            current() as *const u8
        };
        Self {
            task,
            kernel: PhantomData,
        }
    }

    /// Its thread group's id.
    #[inline(always)]
    pub(crate) fn tgid(&self) -> u32 {
        self.load(config::task_tgid())
    }

    /// Its id.
    #[inline(always)]
    pub(crate) fn tid(&self) -> u32 {
        self.load(config::task_pid())
    }

    /// Its thread pointer: what `pthread_self()` returns.
    #[inline(always)]
    pub(crate) fn pointer(&self) -> u64 {
        self.load(config::task_thread_pointer())
    }

    /// Where the stack of its process's first thread begins; 0 for a kernel thread.
    #[inline(always)]
    pub(crate) fn first_stack(&self) -> u64 {
        let memory: u64 = self.load(config::task_memory());
        read(memory + u64::from(config::memory_stack()))
    }

    /// Its name (`comm`), NUL-padded.
    #[inline(always)]
    pub(crate) fn name(&self) -> [u8; 16] {
        let halves: [u64; 2] = [
            self.load(config::task_comm()),
            self.load(config::task_comm() + 8),
        ];
        // SAFETY: bytes of the same number.
        unsafe { transmute(halves) }
    }

    #[inline(always)]
    fn load<T: Default>(&self, offset: u32) -> T {
        if K::HAS_TYPED_TASK {
            // SAFETY: the current task is always valid, and the verifier checks the field.
            unsafe { self.task.add(offset as usize).cast::<T>().read_volatile() }
        } else {
            read(self.task as u64 + u64::from(offset))
        }
    }
}

/// When a task started, in clock ticks since boot.
#[inline(always)]
pub(crate) fn start_time(task: u64) -> u64 {
    read::<u64>(task + u64::from(config::task_start())) / NANOSECONDS_PER_TICK
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
        stack + u64::from(config::stack_size()) - u64::from(config::registers_size())
    };
    let register = |offset: u32| read(registers + u64::from(offset));
    Registers {
        instruction: register(config::registers_instruction()),
        stack: register(config::registers_stack()),
        frame: register(config::registers_frame()),
    }
}

//! What the agent tells the kernel programs when it loads them.

use crate::wire::record;

record! {
    /// Settings and facts about the running kernel, read-only once loaded. Offsets come from the
    /// kernel's own BTF, in bytes; the verifier drops the branches that the flags rule out.
    Config: 88 bytes {
        /// `task_struct.tgid`.
        task_tgid: u32,
        /// `task_struct.pid`: the thread.
        task_pid: u32,
        /// `task_struct.comm`.
        task_comm: u32,
        /// `task_struct.start_boottime`, nanoseconds.
        task_start: u32,
        /// `task_struct.signal`.
        task_signal: u32,
        /// `signal_struct.live`: threads not yet gone.
        signal_live: u32,
        /// The thread pointer of a task: on x86-64 `task_struct.thread.fsbase`.
        task_thread_pointer: u32,
        /// `task_struct.mm`.
        task_memory: u32,
        /// `mm_struct.start_stack`: where the stack of the process's first thread begins.
        memory_stack: u32,
        /// `task_struct.stack`: the kernel stack, at whose top the user registers lie.
        task_stack: u32,
        /// Bytes of a kernel stack.
        stack_size: u32,
        /// The instruction pointer in `pt_regs`.
        registers_instruction: u32,
        /// The stack pointer.
        registers_stack: u32,
        /// The frame pointer.
        registers_frame: u32,
        /// `sizeof(struct pt_regs)`.
        registers_size: u32,
        /// 1 if `bpf_task_pt_regs` exists (Linux 5.15).
        has_task_registers: u32,
        /// Times a loop is repeated if `bpf_loop` does not exist: what the verifier can follow.
        unrolled_steps: u32,
        /// Python frames that are walked if `bpf_loop` exists: at most [`crate::limits::MAX_PYTHON_DEPTH`].
        python_depth: u32,
        /// Bytes in the ring at which the kernel programs wake the reader.
        wake_at: u32,
        /// 1 to log every sample and span through aya-log.
        debug: u32,
        /// 1 to count what each stage of a sample takes, in the counters named `stage_`.
        time_stages: u32,
        /// What one tick of the sampling clock stands for, in nanoseconds of CPU time.
        tick: u32,
    }
}

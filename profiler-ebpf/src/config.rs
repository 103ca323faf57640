//! What the agent has told us, read-only once loaded.

use profiler_common::config::Config;

/// Overwritten by the loader before the programs are verified.
#[unsafe(no_mangle)]
static CONFIG: Config = Config {
    task_tgid: 0,
    task_pid: 0,
    task_comm: 0,
    task_start: 0,
    task_signal: 0,
    signal_live: 0,
    task_thread_pointer: 0,
    task_memory: 0,
    memory_stack: 0,
    task_stack: 0,
    stack_size: 0,
    registers_instruction: 0,
    registers_stack: 0,
    registers_frame: 0,
    registers_size: 0,
    has_task_registers: 0,
    unrolled_steps: 0,
    python_depth: 0,
    wake_at: 0,
    debug: 0,
    time_stages: 0,
    tick: 0,
};

macro_rules! getters {
    ($($name:ident)*) => {$(
        /// As in [`Config`].
        #[inline(always)]
        pub(crate) fn $name() -> u32 {
            // SAFETY: a plain read of a static; volatile, since the loader patches it after this
            // code was compiled.
            unsafe { core::ptr::read_volatile(&raw const CONFIG.$name) }
        }
    )*};
}

getters! {
    task_tgid task_pid task_comm task_start task_signal signal_live task_thread_pointer task_memory memory_stack task_stack stack_size
    registers_instruction registers_stack registers_frame registers_size has_task_registers unrolled_steps python_depth wake_at debug
    time_stages tick
}

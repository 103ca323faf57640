//! What differs between kernels and decides how a program is compiled: each program is made for one kind of kernel.
//!
//! What can be found out when a program is loaded is no constant here but a field of
//! [`Config`](profiler_common::config::Config).

/// A kind of kernel.
pub(crate) trait Kernel {
    /// `bpf_loop` exists (Linux 5.17): the verifier checks its body once, however often it is repeated. Without it a
    /// loop is a sequence of calls, and the verifier follows each. This decides between whole programs: kernels before
    /// 5.13 refuse a program that even mentions a callback.
    const HAS_LOOP: bool;

    /// `bpf_get_current_task_btf` exists (Linux 5.11): the verifier knows the type of the task, and a program loads its
    /// fields without a helper.
    const HAS_TYPED_TASK: bool;

    /// The verifier cannot follow a whole sample: its second half, the span, is a separate program, which the first
    /// calls.
    const IS_SPLIT: bool;

    /// The verifier follows a step of a walk once. So a step may have branches for what need not be read, because it is
    /// known or was read before, and may do the work of several.
    const HAS_SHORTCUTS: bool;

    /// The verifier follows enough steps to scan a thread's stack.
    const LOOKS_THROUGH_STACKS: bool;
}

/// Linux 5.17 and later, and kernels with backports of what is needed from there.
pub(crate) struct Looping;

impl Kernel for Looping {
    const HAS_LOOP: bool = true;
    const HAS_TYPED_TASK: bool = true;
    const IS_SPLIT: bool = false;
    const HAS_SHORTCUTS: bool = true;
    const LOOKS_THROUGH_STACKS: bool = true;
}

/// Kernels before that, from 5.10 on. Every later kernel takes these programs, too.
pub(crate) struct Unrolling;

impl Kernel for Unrolling {
    const HAS_LOOP: bool = false;
    const HAS_TYPED_TASK: bool = false;
    const IS_SPLIT: bool = true;
    const HAS_SHORTCUTS: bool = false;
    const LOOKS_THROUGH_STACKS: bool = false;
}

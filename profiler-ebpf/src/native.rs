//! Kernel and native stacks. Native frames come from our own walk; DWARF unwinding will live here.

use core::ffi::c_void;

use aya_ebpf::{EbpfContext as _, helpers::generated::bpf_get_stack, programs::PerfEventContext};
use profiler_common::{
    counter::Counter,
    limits::{MAX_KERNEL_FRAMES, MAX_NATIVE_FRAMES},
    outcome::Outcome,
    walk::Registers,
};

use crate::{
    arch::{Architecture as _, Machine},
    count::bump,
    kernel::Kernel,
    scratch::SampleScratch,
    task,
    user::CurrentProcess,
    verifier::repeat,
};

/// Whether the clock hit the thread in user mode, and its user registers.
#[inline(always)]
pub(crate) fn registers(context: &PerfEventContext) -> (bool, Registers) {
    match Machine::user_mode(context) {
        Some(registers) => (true, registers),
        None => (false, task::user_registers()),
    }
}

/// Fills in the kernel stack, leaf first; returns how many addresses.
#[inline(always)]
pub(crate) fn kernel_stack(
    context: &PerfEventContext,
    addresses: &mut [u64; MAX_KERNEL_FRAMES],
) -> usize {
    // SAFETY: the buffer has that many bytes. Flags 0: the kernel's stack, never the user's.
    let bytes = unsafe {
        bpf_get_stack(
            context.as_ptr(),
            addresses.as_mut_ptr().cast(),
            size_of::<[u64; MAX_KERNEL_FRAMES]>() as u32,
            0,
        )
    };
    if bytes < 0 {
        bump(Counter::KernelStackFailed);
        return 0;
    }
    bytes as usize / 8
}

/// What the steps of one walk share. A callback's context must lie on the program's stack.
struct Steps {
    scratch: *mut SampleScratch,
}

/// One step more than frames: the last one finds out that the stack continues.
const STEPS: u32 = MAX_NATIVE_FRAMES as u32 + 1;

/// Steps that one call of [`take_steps`] takes, if the verifier follows them once: on many machines the call goes
/// through a retpoline.
#[inline(always)]
const fn steps_at_once<K: Kernel>() -> u32 {
    if K::HAS_SHORTCUTS { 4 } else { 1 }
}

/// Fills in the native stack, leaf first; `scratch.native` says how many and how it ended.
#[inline(always)]
pub(crate) fn native_stack<K: Kernel>(registers: Registers, scratch: &mut SampleScratch) {
    scratch.native.start(registers);
    // SAFETY: the slot is in the scratch.
    unsafe { *scratch.native_address(0) = registers.instruction };
    let mut context = Steps { scratch };
    // SAFETY: the body gets the `Steps` it expects, and they hold the scratch that came in.
    let outcome = unsafe {
        let calls = STEPS.div_ceil(steps_at_once::<K>());
        repeat::<K, STEPS, 1>(calls, take_steps::<K>, (&raw mut context).cast());
        (*context.scratch).native.outcome
    };
    match Outcome::from_number(outcome) {
        Some(Outcome::BrokenChain) => bump(Counter::NativeBroken),
        Some(Outcome::Truncated) => bump(Counter::NativeTruncated),
        _ => {}
    }
}

/// A few steps of the walk: 0 to go on, 1 to stop.
extern "C" fn take_steps<K: Kernel>(_index: u64, steps: *mut c_void) -> i64 {
    // SAFETY: the caller passes its `Steps`, and there is no other reference to their scratch meanwhile.
    let scratch = unsafe { &mut *(*steps.cast::<Steps>()).scratch };
    let frames: *mut SampleScratch = scratch;
    for _ in 0..steps_at_once::<K>() {
        let goes_on = scratch
            .native
            .step(&CurrentProcess, K::HAS_SHORTCUTS, |index, address| {
                // SAFETY: the slot is in the scratch, apart from the walk.
                unsafe { *(*frames).native_address(index) = address };
            });
        if !goes_on {
            return 1;
        }
    }
    0
}

//! What only the verifier needs.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::helpers::generated::bpf_loop;

use crate::{config, kernel::Kernel};

/// `value` masked below `LIMIT`, a power of two, in a form that the verifier follows.
///
/// The compiler drops a mask that it can prove useless, and with it the bound: if a value was copied before it was
/// compared, the verifier does not see the proof. So the mask is an instruction that the compiler cannot look into.
#[inline(always)]
pub(crate) fn masked<const LIMIT: usize>(value: usize) -> usize {
    const { assert!(LIMIT.is_power_of_two()) };
    let mut masked = value as u64;
    // SAFETY: one arithmetic instruction on one register.
    unsafe {
        asm!("{0} &= {1}", inout(reg) masked, const LIMIT - 1, options(pure, nomem, nostack));
    };
    masked as usize
}

/// 1 if a value is not 0, else 0, without a branch: the verifier follows both ways of each branch, and the compiler
/// makes one of any expression that it sees through.
#[inline(always)]
pub(crate) fn is_not_zero(value: u64) -> u64 {
    let mut negated = value;
    // SAFETY: one arithmetic instruction on one register.
    unsafe {
        asm!("{0} = -{0}", inout(reg) negated, options(pure, nomem, nostack));
    }
    (value | negated) >> 63
}

/// All bits set if one value is below another, else none. Without a branch, as [`is_not_zero`]; both values are below 2⁶³.
#[inline(always)]
pub(crate) fn bits_if_below(value: u64, limit: u64) -> u64 {
    let mut difference = value;
    // SAFETY: two arithmetic instructions on registers.
    unsafe {
        asm!("{0} -= {1}", "{0} s>>= 63", inout(reg) difference, in(reg) limit, options(pure, nomem, nostack));
    }
    difference
}

/// The body of a loop: 0 to go on, 1 to stop.
pub(crate) type Body = extern "C" fn(u64, *mut c_void) -> i64;

/// Runs `body` up to `times` times, and no more than `MOST`; unrolled, as often as the verifier can
/// follow, which sees `WEIGHT` steps in each run.
///
/// # Safety
/// `context` is what `body` expects.
#[inline(always)]
pub(crate) unsafe fn repeat<K: Kernel, const MOST: u32, const WEIGHT: u32>(
    times: u32,
    body: Body,
    context: *mut c_void,
) {
    if K::HAS_LOOP {
        // SAFETY: the body has the signature the helper asks for; the caller vouches for the context.
        unsafe {
            bpf_loop(
                if times < MOST { times } else { MOST },
                body as *mut c_void,
                context,
                0,
            );
        }
        return;
    }
    for index in 0..MOST {
        if index >= config::unrolled_steps() / WEIGHT
            || index >= times
            || body(u64::from(index), context) != 0
        {
            break;
        }
    }
}

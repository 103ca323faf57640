//! What lies on the stack of the current thread.

use core::ffi::c_void;

use profiler_common::walk::{MAX_PAGE_STEPS, MAX_SCAN_STEPS, Position};

use super::Steps;
use crate::{kernel::Kernel, user::CurrentProcess, verifier::repeat};

/// Whether the address of a frame is on the thread's stack.
///
/// # Safety
/// There is no other reference to the scratch of the steps.
#[inline(always)]
pub(super) unsafe fn is_on_stack<K: Kernel>(
    position: &Position,
    frame: u64,
    steps: &mut Steps,
) -> bool {
    if !K::LOOKS_THROUGH_STACKS {
        return false;
    }
    // SAFETY: the caller vouches for the scratch; the body gets the `Steps` it expects.
    unsafe {
        (*steps.scratch).scan.start(position, frame);
        let context: *mut Steps = steps;
        repeat::<K, MAX_SCAN_STEPS, 4>(MAX_SCAN_STEPS, scan_step, context.cast());
        (*steps.scratch).scan.is_found != 0
    }
}

/// Whether everything between the stack pointer and a C frame belongs to one stack.
///
/// # Safety
/// There is no other reference to the scratch of the steps.
#[inline(always)]
pub(super) unsafe fn is_on_one_stack<K: Kernel>(
    position: &Position,
    frame: u64,
    steps: &mut Steps,
) -> bool {
    if !K::LOOKS_THROUGH_STACKS {
        return position.is_near(frame);
    }
    // SAFETY: the caller vouches for the scratch; the body gets the `Steps` it expects.
    unsafe {
        (*steps.scratch).pages.start(position, frame);
        let context: *mut Steps = steps;
        repeat::<K, MAX_PAGE_STEPS, 8>(MAX_PAGE_STEPS, page_step, context.cast());
        (*steps.scratch).pages.is_whole != 0
    }
}

/// One step of the check of the stack's pages: 0 to go on, 1 to stop.
extern "C" fn page_step(_index: u64, steps: *mut c_void) -> i64 {
    // SAFETY: as in `take_steps`.
    let scratch = unsafe { &mut *(*steps.cast::<Steps>()).scratch };
    i64::from(!scratch.pages.step(&CurrentProcess))
}

/// One step of the scan of the stack: 0 to go on, 1 to stop.
extern "C" fn scan_step(_index: u64, steps: *mut c_void) -> i64 {
    // SAFETY: as in `take_steps`.
    let scratch = unsafe { &mut *(*steps.cast::<Steps>()).scratch };
    i64::from(!scratch.scan.step(&CurrentProcess, &mut scratch.walk.code))
}

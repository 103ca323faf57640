//! Which code objects a walk need not read, and which are still to be shipped.

use profiler_common::{code::KnownCode, event::PythonFrame, python::Process};

use crate::scratch::{KnownCodes, SampleScratch};

/// What is known of the code objects of one stack, whose frames are put here.
pub(crate) struct Codes<'a> {
    pub(crate) process: &'a Process,
    pub(crate) tgid: u32,
    /// How many code objects there are, 0 where nobody counts.
    pub(crate) version: u32,
    /// As in [`SampleScratch`].
    pub(crate) shipped: u64,
    /// As in [`SampleScratch`].
    pub(crate) unchanged: u64,
    pub(crate) frames: *mut SampleScratch,
    pub(crate) known: *mut KnownCodes,
}

impl Codes<'_> {
    /// The checksum of the code object of the frame at an index, where it need not be read for it, and whether
    /// it is known to have been shipped.
    ///
    /// # Safety
    /// The frames and the known codes are nobody else's meanwhile.
    #[inline(always)]
    pub(crate) unsafe fn verified(&self, index: u32, code: u64) -> Option<(u32, bool)> {
        // SAFETY: as the caller promises; the slots are in the scratch.
        let before = unsafe { *(*self.frames).python_frame(index) };
        if before.code == code && u64::from(index) < self.unchanged {
            return Some((before.checksum, true));
        }
        if self.version == 0 {
            // A function that has called itself: the frame above keeps its code object alive.
            // SAFETY: as above.
            let above = unsafe { *(*self.frames).python_frame(index.wrapping_sub(1)) };
            return (above.code == code && index != 0).then_some((above.checksum, false));
        }
        // SAFETY: as above.
        let known = unsafe { (*self.known).find(code, self.process, self.tgid) }?;
        (known.version == self.version).then_some((known.checksum, true))
    }

    /// Puts a frame, and whether its code object is known to have been shipped.
    ///
    /// # Safety
    /// As [`Self::verified`].
    #[inline(always)]
    pub(crate) unsafe fn put(&self, index: u32, frame: PythonFrame, is_known: bool) -> bool {
        // SAFETY: as the caller promises; the slots are in the scratch.
        let before = unsafe {
            let slot = (*self.frames).python_frame(index);
            let before = *slot;
            *slot = frame;
            before
        };
        if is_known {
            return true;
        }
        // Mostly the stack is as it was, but for its leaf.
        let is_as_before = before.code == frame.code
            && before.checksum == frame.checksum
            && u64::from(index) < self.shipped;
        if is_as_before && self.version == 0 {
            return true;
        }
        // SAFETY: as above.
        unsafe {
            if let Some(known) = (*self.known).find(frame.code, self.process, self.tgid)
                && known.checksum == frame.checksum
            {
                known.version = self.version;
                return true;
            }
            if is_as_before {
                let known = KnownCode::new(&frame, self.process, self.tgid, self.version);
                (*self.known).insert(known);
                return true;
            }
            (*self.frames).unknown_codes = 1;
        }
        false
    }

    /// The same where the verifier follows each step by itself: without a branch.
    ///
    /// # Safety
    /// As [`Self::verified`].
    #[inline(always)]
    pub(crate) unsafe fn put_unrolled(&self, index: u32, frame: PythonFrame) {
        // SAFETY: as the caller promises; the slots are in the scratch.
        unsafe {
            *(*self.frames).python_frame(index) = frame;
            let lacks = (*self.known).lacks(&frame, self.process, self.tgid);
            (*self.frames).unknown_codes |= lacks;
        }
    }
}

//! Which code objects a walk need not read, and which are still to be shipped.

use core::marker::PhantomData;

use profiler_common::{
    code::KnownCode,
    event::PythonFrame,
    limits::INNERMOST_FRAMES,
    python::Process,
    walk::{Codes, Known, Trust, frame_slot},
};

use crate::{
    kernel::Kernel,
    scratch::{KnownCodes, SampleScratch},
    verifier::bits_if_below,
};

/// What is known of the code objects of one stack; the walk puts the stack's frames here. Pointers, since the walk's
/// own part of the scratch is borrowed meanwhile.
pub(crate) struct StackCodes<'a, K> {
    process: &'a Process,
    tgid: u32,
    /// How many code objects there are, 0 if the interpreter keeps no count.
    version: u32,
    /// As in [`SampleScratch`].
    shipped: u64,
    /// As in [`SampleScratch`].
    unchanged: u64,
    frames: *mut SampleScratch,
    known: *mut KnownCodes,
    kernel: PhantomData<K>,
}

impl<'a, K: Kernel> StackCodes<'a, K> {
    /// # Safety
    /// As long as this lives, there is no other reference to the known codes, nor to the frames and the mark of unknown
    /// codes in the scratch.
    #[inline(always)]
    pub(crate) unsafe fn new(
        process: &'a Process,
        scratch: *mut SampleScratch,
        known: *mut KnownCodes,
    ) -> Self {
        // SAFETY: the caller hands over a scratch that can be read.
        let (tgid, version, shipped, unchanged) = unsafe {
            let scratch = &*scratch;
            (
                scratch.record.header.tgid,
                scratch.walk.code_version,
                scratch.shipped,
                scratch.unchanged,
            )
        };
        Self {
            process,
            tgid,
            version,
            shipped,
            unchanged,
            frames: scratch,
            known,
            kernel: PhantomData,
        }
    }

    /// Marks the code object of a frame as unknown, unless this CPU knows that it was shipped. Without a branch: the
    /// verifier follows each.
    #[inline(always)]
    fn note(&mut self, frame: &PythonFrame) {
        // SAFETY: as `new` demands.
        unsafe {
            let lacks = (*self.known).lacks(frame, self.process, self.tgid);
            (*self.frames).unknown_codes |= lacks;
        }
    }

    /// Whether this CPU knows that the code object of a frame was shipped; otherwise marks it as unknown. `before` is
    /// what the slot held before.
    #[inline(always)]
    fn is_shipped(&mut self, index: u32, before: &PythonFrame, frame: &PythonFrame) -> bool {
        // Mostly the stack is the same as before, except for its leaf.
        let is_as_before = before.code == frame.code
            && before.checksum == frame.checksum
            && u64::from(index) < self.shipped;
        if is_as_before && self.version == 0 {
            return true;
        }
        // SAFETY: as `new` demands.
        unsafe {
            if let Some(known) = (*self.known).find(frame.code, self.process, self.tgid)
                && known.checksum == frame.checksum
            {
                known.version = self.version;
                return true;
            }
            if is_as_before {
                let known = KnownCode::new(frame, self.process, self.tgid, self.version);
                (*self.known).insert(known);
                return true;
            }
            (*self.frames).unknown_codes = 1;
        }
        false
    }
}

impl<K: Kernel> Codes for StackCodes<'_, K> {
    /// The slot in the scratch.
    type Place = *mut PythonFrame;

    #[inline(always)]
    fn place(&self, index: u32) -> Self::Place {
        // Without a loop no walk has more frames than there are slots.
        let slot = if K::HAS_LOOP {
            let is_outer = bits_if_below(INNERMOST_FRAMES as u64 - 1, index.into());
            frame_slot(index, is_outer as u32)
        } else {
            index
        };
        // SAFETY: as `new` demands.
        unsafe { (*self.frames).python_frame(slot) }
    }

    #[inline(always)]
    fn known(&self, index: u32, place: Self::Place, code: u64, above: &PythonFrame) -> Known {
        if !K::HAS_SHORTCUTS {
            return Known::Nothing;
        }
        // SAFETY: the slots are in the scratch.
        let before = unsafe { *place };
        if before.code == code && u64::from(index) < self.unchanged {
            return Known::Sent(before.checksum);
        }
        if self.version == 0 {
            // A function that has called itself: the frame above keeps its code object alive.
            return if above.code == code && index != 0 {
                Known::Same(above.checksum)
            } else {
                Known::Nothing
            };
        }
        // SAFETY: as `new` demands.
        match unsafe { (*self.known).find(code, self.process, self.tgid) } {
            Some(known) if known.version == self.version => Known::Sent(known.checksum),
            _ => Known::Nothing,
        }
    }

    #[inline(always)]
    fn put(&mut self, index: u32, place: Self::Place, frame: PythonFrame, known: Known) -> Trust {
        // SAFETY: the slots are in the scratch.
        let before = unsafe { place.replace(frame) };
        if !K::HAS_SHORTCUTS {
            self.note(&frame);
            return Trust::Unproven;
        }
        if matches!(known, Known::Sent(_)) || self.is_shipped(index, &before, &frame) {
            return Trust::Proven;
        }
        match known {
            Known::Nothing => Trust::Unproven,
            Known::Same(_) | Known::Sent(_) => Trust::Proven,
        }
    }
}

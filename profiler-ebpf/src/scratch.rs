//! Scratch memory of the sampling program, per CPU. The sampling interrupt does not nest, so one
//! of each is enough; the span probes can be interrupted and preempted, so they use none and fill
//! their records in the ring itself.

use profiler_common::{
    code::{CodeKey, VerifiedCode},
    event::{CodeRecord, PythonFrame, SampleRecord},
    limits::{
        MAX_CODE_FILE, MAX_KERNEL_FRAMES, MAX_KNOWN_CODES, MAX_LINE_TABLE, MAX_NATIVE_FRAMES,
        MAX_PYTHON_FRAMES,
    },
    walk::{Block, NativeWalk, PythonWalk, ThreadSearch},
};

use crate::verifier::masked;

/// Bytes for the frames of one sample. Twice what the limits add up to, so that masked offsets,
/// which the verifier takes at their largest, stay inside.
pub(crate) const FRAMES_SIZE: usize = 12 * 1024;

/// One sample under construction: the record and its tail, and what the walks read.
#[repr(C, align(8))]
pub(crate) struct SampleScratch {
    /// The fixed part.
    pub(crate) record: SampleRecord,
    /// The tail: kernel addresses, native addresses, Python frames.
    pub(crate) frames: [u8; FRAMES_SIZE],
    /// The Python walk.
    pub(crate) walk: PythonWalk,
    /// Kernel addresses in `frames`.
    pub(crate) kernel_frames: u32,
    /// How the Python walk ended, as a number.
    pub(crate) python_outcome: u32,
    /// Not 0 where the walk met a code object that this CPU does not know to have been shipped.
    pub(crate) unknown_codes: u64,
    /// Whose stack the Python frames in `frames` are of, left by the sample before: all of their code
    /// objects are known.
    pub(crate) before: Before,
    /// When the stage under way has started.
    pub(crate) stage_start: u64,
    /// The thread's state; 0 where it has none.
    pub(crate) thread_state: u64,
    /// The search for the thread's state.
    pub(crate) search: ThreadSearch,
    /// The native walk.
    pub(crate) native: NativeWalk,
}

/// What the sample before has left in the frames of the scratch.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Before {
    /// The process's start time.
    pub(crate) process_start: u64,
    /// The process.
    pub(crate) tgid: u32,
    /// Its incarnation.
    pub(crate) generation: u32,
    /// Frames whose code objects are known to have been shipped; of this process, while a walk runs.
    pub(crate) count: u64,
}

/// Code objects known to have been shipped, each in the slot that its checksum names.
#[repr(C, align(8))]
pub(crate) struct KnownCodes {
    slots: [CodeKey; MAX_KNOWN_CODES],
}

impl KnownCodes {
    /// The slot of a code object.
    #[inline(always)]
    pub(crate) fn slot(&mut self, checksum: u32) -> &mut CodeKey {
        let index = masked::<MAX_KNOWN_CODES>(checksum as usize);
        // SAFETY: the masked index is below the number of slots.
        unsafe { &mut *self.slots.as_mut_ptr().add(index) }
    }
}

/// Code objects of which this CPU knows the checksum, each in the slot that its address names.
#[repr(C, align(8))]
pub(crate) struct VerifiedCodes {
    slots: [VerifiedCode; MAX_KNOWN_CODES],
}

impl VerifiedCodes {
    /// The slot of a code object.
    #[inline(always)]
    pub(crate) fn slot(&mut self, code: u64) -> &mut VerifiedCode {
        const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
        let index = masked::<MAX_KNOWN_CODES>((code.wrapping_mul(MULTIPLIER) >> 48) as usize);
        // SAFETY: the masked index is below the number of slots.
        unsafe { &mut *self.slots.as_mut_ptr().add(index) }
    }
}

/// One code object under construction.
#[repr(C, align(8))]
pub(crate) struct CodeScratch {
    /// The fixed part.
    pub(crate) record: CodeRecord,
    /// The tail: name, file name, line table. Offsets are masked by twice the file name's limit,
    /// sizes by the line table's; a per-CPU value may have 32 KiB at most.
    pub(crate) tail: [u8; 2 * MAX_CODE_FILE + MAX_LINE_TABLE],
    /// The header of a string or of bytes.
    pub(crate) object: Block<64>,
}

impl SampleScratch {
    /// The native address at an index, wrapped into the frames: behind the kernel's.
    #[inline(always)]
    pub(crate) fn native_address(&mut self, index: u32) -> *mut u64 {
        let before = masked::<{ 2 * MAX_KERNEL_FRAMES }>(self.kernel_frames as usize);
        let index = masked::<MAX_NATIVE_FRAMES>(index as usize);
        // SAFETY: the masked offsets add up to less than the size of the frames (asserted below).
        unsafe {
            self.frames
                .as_mut_ptr()
                .cast::<u64>()
                .add(before)
                .add(index)
        }
    }

    /// How many addresses, the kernel's and native ones, lie before the Python frames.
    #[inline(always)]
    pub(crate) fn addresses(&self) -> usize {
        masked::<{ 2 * (MAX_KERNEL_FRAMES + MAX_NATIVE_FRAMES) }>(
            (self.kernel_frames + self.native.count) as usize,
        )
    }

    /// The Python frame at an index, wrapped into the frames: behind all addresses.
    #[inline(always)]
    pub(crate) fn python_frame(&mut self, index: u32) -> *mut PythonFrame {
        let before = self.addresses();
        let index = masked::<MAX_PYTHON_FRAMES>(index as usize);
        // SAFETY: the masked offsets add up to less than the size of the frames (asserted below).
        unsafe {
            self.frames
                .as_mut_ptr()
                .add(before * 8)
                .cast::<PythonFrame>()
                .add(index)
        }
    }
}

const _: () = assert!(
    2 * (MAX_KERNEL_FRAMES + MAX_NATIVE_FRAMES) * 8 + MAX_PYTHON_FRAMES * size_of::<PythonFrame>()
        <= FRAMES_SIZE
);

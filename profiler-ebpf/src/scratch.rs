//! Scratch memory of the sampling program, per CPU. The sampling interrupt does not nest, so one
//! of each is enough; the span probes can be interrupted and preempted, so they use none and fill
//! their records in the ring itself.

use profiler_common::{
    code::KnownCode,
    event::{CodeRecord, PythonFrame, SampleRecord},
    limits::{
        MAX_CODE_FILE, MAX_KERNEL_FRAMES, MAX_KNOWN_CODES, MAX_LINE_TABLE, MAX_NATIVE_FRAMES,
        MAX_PYTHON_FRAMES,
    },
    python::Process,
    walk::{Block, Makers, NativeWalk, PythonWalk, Registers, StackPages, StackScan, ThreadSearch},
};

use crate::verifier::{is_not_zero, masked};

/// Bytes for the frames of one sample. Twice what the limits add up to, so that masked offsets,
/// which the verifier takes at their largest, stay inside.
pub(crate) const FRAMES_SIZE: usize = 12 * 1024;

/// One sample under construction: the record and its tail, and what the walks read.
#[repr(C, align(8))]
pub(crate) struct SampleScratch {
    /// The fixed part.
    pub(crate) record: SampleRecord,
    /// The tail: Python frames, which the next sample may take over, kernel addresses, native addresses.
    pub(crate) frames: [u8; FRAMES_SIZE],
    /// The Python walk.
    pub(crate) walk: PythonWalk,
    /// Python frames left out of `frames`, between the innermost and the outermost.
    pub(crate) python_frames_omitted: u32,
    /// Kernel addresses in `frames`.
    pub(crate) kernel_frames: u32,
    /// How the Python walk ended, as a number.
    pub(crate) python_outcome: u32,
    /// Not 0 if the walk met a code object that this CPU does not know to have been shipped.
    pub(crate) unknown_codes: u64,
    /// The sample whose Python frames are in `frames`.
    pub(crate) before: Before,
    /// The process that is sampled, if the second half of the sample is a separate program.
    pub(crate) process: Process,
    /// How many of those frames, left by the sample before, are of the process that is sampled now: all of their code
    /// objects have been shipped.
    pub(crate) shipped: u64,
    /// How many of them have code objects that have not changed.
    pub(crate) unchanged: u64,
    /// When the stage under way started.
    pub(crate) stage_start: u64,
    /// The thread's state; 0 if it has none.
    pub(crate) thread_state: u64,
    /// The address at which the thread has the interpreter's thread-local with its attached state, 0 if it has none or
    /// if that is not read.
    pub(crate) attached_place: u64,
    /// The thread pointer, if it was read.
    pub(crate) thread_pointer: u64,
    /// The thread pointer of the thread that made the state, 0 if that was not read.
    pub(crate) maker: u64,
    /// Its interpreter; 0 if the thread has no state.
    pub(crate) interpreter: u64,
    /// Whether the clock hit the thread in user mode.
    pub(crate) in_user_mode: u64,
    /// The registers that it has there.
    pub(crate) registers: Registers,
    /// The search for the state of a detached thread.
    pub(crate) search: ThreadSearch,
    /// Which threads have made the states that it has read.
    pub(crate) makers: Makers,
    /// The scan for a frame on its stack.
    pub(crate) scan: StackScan,
    /// The check of the pages of its stack.
    pub(crate) pages: StackPages,
    /// The native walk.
    pub(crate) native: NativeWalk,
}

/// What a sample leaves to the next one on its CPU, which is mostly of the same thread.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Before {
    /// The process's start time.
    pub(crate) process_start: u64,
    /// The process.
    pub(crate) tgid: u32,
    /// Its incarnation.
    pub(crate) generation: u32,
    /// The thread.
    pub(crate) tid: u32,
    /// How many code objects there were, 0 if the interpreter keeps no count.
    pub(crate) code_version: u32,
    /// Frames in the scratch, all of whose code objects have been shipped.
    pub(crate) count: u64,
    /// The thread's state; 0 if it has none.
    pub(crate) thread_state: u64,
    /// As in [`SampleScratch`].
    pub(crate) attached_place: u64,
    /// As in [`SampleScratch`].
    pub(crate) thread_pointer: u64,
    /// As in [`SampleScratch`].
    pub(crate) maker: u64,
}

/// Code objects known to have been shipped: two for each of the places that addresses are mapped to, since with 512
/// places for one each, some thirty code objects mostly do collide somewhere.
#[repr(C, align(8))]
pub(crate) struct KnownCodes {
    places: [[KnownCode; 2]; MAX_KNOWN_CODES / 2],
}

impl KnownCodes {
    /// The two at the place of an address.
    #[inline(always)]
    pub(crate) fn place(&mut self, code: u64) -> &mut [KnownCode; 2] {
        const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
        const PLACES: usize = MAX_KNOWN_CODES / 2;
        let index = masked::<PLACES>((code.wrapping_mul(MULTIPLIER) >> 48) as usize);
        // SAFETY: the masked index is below the number of places.
        unsafe { &mut *self.places.as_mut_ptr().add(index) }
    }

    /// What is remembered of the code object at an address of a process.
    #[inline(always)]
    pub(crate) fn find(
        &mut self,
        code: u64,
        process: &Process,
        tgid: u32,
    ) -> Option<&mut KnownCode> {
        let [first, second] = self.place(code);
        if first.difference(code, process, tgid) == 0 {
            return Some(first);
        }
        if second.difference(code, process, tgid) == 0 {
            return Some(second);
        }
        None
    }

    /// 1 if the code object of a frame is not known to have been shipped, else 0. Without a branch: the
    /// verifier follows each.
    #[inline(always)]
    pub(crate) fn lacks(&mut self, frame: &PythonFrame, process: &Process, tgid: u32) -> u64 {
        let [first, second] = self.place(frame.code);
        let [first, second] = [first, second].map(|known| {
            let checksum = u64::from(known.checksum ^ frame.checksum);
            is_not_zero(known.difference(frame.code, process, tgid) | checksum)
        });
        first & second
    }

    /// Remembers a code object in place of the older of the two at its address's place.
    #[inline(always)]
    pub(crate) fn insert(&mut self, code: KnownCode) {
        let [first, second] = self.place(code.code);
        *second = *first;
        *first = code;
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
    /// The Python frame at an index, wrapped into the frames.
    #[inline(always)]
    pub(crate) fn python_frame(&mut self, index: u32) -> *mut PythonFrame {
        let index = masked::<MAX_PYTHON_FRAMES>(index as usize);
        // SAFETY: the masked index is inside the frames (asserted below).
        unsafe { self.frames.as_mut_ptr().cast::<PythonFrame>().add(index) }
    }

    /// How many Python frames there are once they are walked; addresses lie behind them.
    #[inline(always)]
    pub(crate) fn python_frames(&self) -> usize {
        masked::<{ 2 * MAX_PYTHON_FRAMES }>(self.walk.count as usize)
    }

    /// Room for the kernel's addresses.
    #[inline(always)]
    pub(crate) fn kernel_addresses(&mut self) -> *mut [u64; MAX_KERNEL_FRAMES] {
        let before = self.python_frames() * size_of::<PythonFrame>();
        // SAFETY: the masked offset and the room add up to less than the size of the frames (asserted below).
        unsafe { self.frames.as_mut_ptr().add(before).cast() }
    }

    /// The native address at an index, wrapped into the frames: behind the kernel's.
    #[inline(always)]
    pub(crate) fn native_address(&mut self, index: u32) -> *mut u64 {
        let before = masked::<{ 2 * MAX_KERNEL_FRAMES }>(self.kernel_frames as usize);
        let index = masked::<MAX_NATIVE_FRAMES>(index as usize);
        // SAFETY: the masked offsets add up to less than the size of the frames (asserted below).
        unsafe { self.kernel_addresses().cast::<u64>().add(before).add(index) }
    }

    /// How many addresses there are, the kernel's and native ones.
    #[inline(always)]
    pub(crate) fn addresses(&self) -> usize {
        masked::<{ 2 * (MAX_KERNEL_FRAMES + MAX_NATIVE_FRAMES) }>(
            (self.kernel_frames + self.native.count) as usize,
        )
    }
}

const _: () = assert!(
    2 * MAX_PYTHON_FRAMES * size_of::<PythonFrame>()
        + (2 * MAX_KERNEL_FRAMES + MAX_KERNEL_FRAMES + MAX_NATIVE_FRAMES) * 8
        <= FRAMES_SIZE
);

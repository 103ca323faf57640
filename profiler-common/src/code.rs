//! Which code objects have been shipped.

use crate::{event::PythonFrame, python::Process, wire::record};

record! {
    /// Key of the map of shipped code objects.
    CodeKey: 32 bytes {
        /// Address of the code object.
        code: u64,
        /// Start time of its process.
        process_start: u64,
        /// Process (host thread group id).
        tgid: u32,
        /// [`crate::python::Process::generation`].
        generation: u32,
        /// Mix of its fields.
        checksum: u32,
        /// Always 0.
        reserved: u32,
    }

    /// A code object that has been shipped, as a CPU remembers it.
    KnownCode: 32 bytes {
        /// Address of the code object.
        code: u64,
        /// Start time of its process.
        process_start: u64,
        /// Process (host thread group id).
        tgid: u32,
        /// [`crate::python::Process::generation`].
        generation: u32,
        /// Mix of its fields.
        checksum: u32,
        /// The interpreter's count of code objects at the last read, 0 if it keeps no count: as long as the count has
        /// not changed, the address holds that very object.
        version: u32,
    }

}

record! {
    /// Key of the map that records which thread used a thread state last.
    StateKey: 16 bytes {
        /// Address of the `PyThreadState`.
        address: u64,
        /// Process (host thread group id).
        tgid: u32,
        /// Always 0: makes the padding explicit.
        reserved: u32,
    }

    /// The thread that was last seen to have a thread state.
    StateUse: 32 bytes {
        /// The thread pointer of that thread.
        thread_pointer: u64,
        /// The thread pointer of the thread that made the state.
        maker: u64,
        /// Start time of its process.
        process_start: u64,
        /// The point at which it was seen to have detached it: [`Seen::progress`](crate::walk::Seen::progress) of its
        /// Python; 0 if it was attached.
        detached_at: u64,
    }
}

impl KnownCode {
    /// The entry for a frame's code object that was read while the count of code objects was `version`.
    #[inline]
    pub fn new(frame: &PythonFrame, process: &Process, tgid: u32, version: u32) -> Self {
        Self {
            code: frame.code,
            process_start: process.start_time,
            tgid,
            generation: process.generation,
            checksum: frame.checksum,
            version,
        }
    }

    /// 0 if this entry is for the code object at an address of a process. Without a branch: the verifier follows each.
    #[inline]
    pub fn difference(&self, code: u64, process: &Process, tgid: u32) -> u64 {
        (self.code ^ code)
            | (self.process_start ^ process.start_time)
            | u64::from(self.tgid ^ tgid)
            | u64::from(self.generation ^ process.generation)
    }
}

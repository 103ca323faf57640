//! Which code objects have been shipped.

use crate::wire::record;

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

    /// A code object that was read while its interpreter's count of them stood at `version`: as long as
    /// it does, the address holds that very object.
    VerifiedCode: 40 bytes {
        /// Address of the code object.
        code: u64,
        /// Start time of its process.
        process_start: u64,
        /// The count.
        version: u64,
        /// Process (host thread group id).
        tgid: u32,
        /// [`crate::python::Process::generation`].
        generation: u32,
        /// Mix of its fields.
        checksum: u32,
        /// Always 0.
        reserved: u32,
    }

    /// The state of a thread, remembered from its last sample. Checked on each use: a thread
    /// state carries the id of its thread.
    ThreadState: 16 bytes {
        /// Address of the `PyThreadState`.
        address: u64,
        /// Address of `_PyRuntime` it was found from.
        runtime: u64,
    }
}

impl CodeKey {
    /// 0 where both are the same. Without a branch: the verifier follows each.
    #[inline]
    pub fn difference(&self, other: &Self) -> u64 {
        (self.code ^ other.code)
            | (self.process_start ^ other.process_start)
            | u64::from(self.tgid ^ other.tgid)
            | u64::from(self.generation ^ other.generation)
            | u64::from(self.checksum ^ other.checksum)
    }
}

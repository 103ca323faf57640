//! The memory of a process, read from outside with a budget.

use std::{cell::Cell, fs::File, io, os::unix::fs::FileExt as _};

use profiler_common::walk::{Block, ReadUser};

use crate::{
    arch::{Common as _, Machine},
    id::ProcessKey,
    targets::procfs,
};

/// Reads made in one look at a process: 4 for each module of one with thousands.
const MAX_READS: u32 = 40_000;

/// The memory of one process. A process can make reads block (FUSE).
#[derive(Debug)]
pub struct Memory {
    file: File,
    left: Cell<u32>,
}

impl Memory {
    /// Opens the memory of this very process; an error if it is gone or may not be read.
    pub fn open(process: ProcessKey) -> io::Result<Self> {
        let file = File::open(format!("/proc/{}/mem", process.pid.0))?;
        // The file is the memory of the process that had the pid when it was opened.
        if procfs::stat(process.pid).is_none_or(|stat| stat.process != process) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Self {
            file,
            left: Cell::new(MAX_READS),
        })
    }

    /// Allows as many reads again as at the start.
    pub fn refill(&self) {
        self.left.set(MAX_READS);
    }

    /// Fills a buffer; false if the memory cannot be read or the budget is used up.
    pub fn fill(&self, address: u64, buffer: &mut [u8]) -> bool {
        let Some(left) = self.left.get().checked_sub(1) else {
            return false;
        };
        self.left.set(left);
        // Above lies the kernel, whose addresses `pread` would take for negative offsets.
        address < Machine::USER_END && self.file.read_exact_at(buffer, address).is_ok()
    }
}

impl ReadUser for Memory {
    fn read<const N: usize>(&self, address: u64, size: u32, block: &mut Block<N>) -> bool {
        match block.bytes_mut().get_mut(..size as usize) {
            Some(bytes) => self.fill(address, bytes),
            None => false,
        }
    }

    fn read_u64(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        self.fill(address, &mut bytes)
            .then(|| u64::from_le_bytes(bytes))
    }
}

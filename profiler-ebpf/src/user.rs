//! Reading the memory of the process that is running.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use profiler_common::walk::{Block, ReadUser};

use crate::verifier::masked;

/// The memory of the current process. A page that is not resident cannot be read: the helper
/// never waits for one.
pub(crate) struct CurrentProcess;

impl ReadUser for CurrentProcess {
    #[inline(always)]
    fn read<const N: usize>(&self, address: u64, size: u32, block: &mut Block<N>) -> bool {
        let size = if size as usize > N { N as u32 } else { size };
        // SAFETY: the helper checks the source; the destination has N bytes, and size is at most N.
        unsafe { bpf_probe_read_user(block.as_mut_ptr().cast(), size, address as *const _) == 0 }
    }

    #[inline(always)]
    fn read_part<const N: usize>(&self, address: u64, size: u32, block: &mut Block<N>) -> bool {
        let size = masked::<N>(size as usize) as u32;
        // SAFETY: the helper checks the source; the destination has N bytes, and size is below N.
        unsafe { bpf_probe_read_user(block.as_mut_ptr().cast(), size, address as *const _) == 0 }
    }

    #[inline(always)]
    fn read_u64(&self, address: u64) -> Option<u64> {
        let mut value = 0_u64;
        // SAFETY: the helper checks the source; the destination has 8 bytes.
        let failed =
            unsafe { bpf_probe_read_user((&raw mut value).cast(), 8, address as *const _) };
        if failed == 0 { Some(value) } else { None }
    }
}

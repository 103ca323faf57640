//! Where a hook says which resource its process is, as `python/ABI.md` lays it out.

use profiler_common::{event::HookProcess, walk::ReadUser as _};

use super::attributes;
use crate::{events::Resource, id::Pid, targets::look::memory::Memory};

/// The version of the hook's ABI that is spoken.
const ABI_VERSION: u32 = 1;

/// Where a process keeps its resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessBlock {
    /// Where it has the address of its hook's process block.
    pub address: u64,
    /// Where its process attributes are; `None` if its hook is of a release without.
    pub attributes: Option<u64>,
}

impl ProcessBlock {
    /// What it says; `None` if it is not written yet, or of another version.
    pub fn resource(self, memory: &Memory, pid: Pid) -> Option<Resource> {
        let address = memory
            .read_u64(self.address)
            .filter(|&address| address != 0)?;
        let mut bytes = [0; size_of::<HookProcess>()];
        if !memory.fill(address, &mut bytes) {
            return None;
        }
        let block: HookProcess = bytemuck::pod_read_unaligned(&bytes);
        (block.abi_version == ABI_VERSION).then(|| Resource {
            // They are written before the block has an address.
            attributes: self.attributes.and_then(|it| attributes::read(memory, it)),
            ..Resource::new(pid, &block)
        })
    }
}

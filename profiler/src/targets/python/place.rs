//! Where a CPython lies in one process.

use std::ops::Range;

use super::detect::Facts;
use crate::{
    arch::{Common as _, Machine, is_user},
    targets::{Mapping, elf::Segment},
};

/// What the loader rounds segments to.
const PAGE: u64 = Machine::PAGE;

/// Addresses in one process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What was added to the addresses of the file.
    pub bias: u64,
    /// The file's own `_PyRuntime`: what is used may lie elsewhere (`globals.rs`).
    pub runtime: u64,
    /// The same of `PyCode_Type`.
    pub code_type: u64,
    /// The bytecode loop; empty if unknown.
    pub evaluation_loop: Range<u64>,
}

/// What was added to a file's addresses when it was mapped, told by one executable mapping of it.
///
/// The segment is the one whose bytes, rounded out to pages, hold the mapping's file offset; its
/// virtual address and file offset may be odd, but agree below the page (ELF specification).
pub fn load_bias(segments: &[Segment], mapping: &Mapping) -> Option<u64> {
    segments.iter().find_map(|segment| {
        let first = segment.offset - segment.offset % PAGE;
        let end = segment.offset.checked_add(segment.size)?;
        if mapping.file_offset < first || mapping.file_offset >= end {
            return None;
        }
        // Neighbouring segments may share a page of the file; the executable one maps its own.
        let address = segment
            .address
            .wrapping_sub(segment.offset)
            .wrapping_add(mapping.file_offset);
        segment
            .executable
            .then(|| mapping.addresses.start.wrapping_sub(address))
    })
}

/// Adds the load bias to what the file says; `None` if it does not fit the process: the
/// runtime would lie outside user space, or a file that cannot move has moved.
pub fn place(facts: &Facts, mapping: &Mapping) -> Option<Placed> {
    let bias = load_bias(&facts.segments, mapping)?;
    if !facts.relocatable && bias != 0 {
        return None;
    }
    let user = |address: u64| {
        let address = address.wrapping_add(bias);
        is_user(address).then_some(address)
    };
    let evaluation_loop = if facts.evaluation_loop.is_empty() {
        0..0
    } else {
        user(facts.evaluation_loop.start)?..user(facts.evaluation_loop.end)?
    };
    Some(Placed {
        bias,
        runtime: user(facts.runtime.address)?,
        code_type: user(facts.code_type.address)?,
        evaluation_loop,
    })
}

#[cfg(test)]
mod tests {
    use super::load_bias;
    use crate::targets::{FileId, Mapping, elf::Segment};

    fn mapping(start: u64, file_offset: u64) -> Mapping {
        Mapping {
            addresses: start..start + 0x1000,
            file_offset,
            file: FileId {
                device: 1,
                inode: 1,
            },
            path: "x".into(),
        }
    }

    /// The bias is right for aligned segments, for odd ones, for a fixed address (0), and unknown
    /// for a mapping that is no executable segment's.
    #[test]
    fn bias_of_each_kind() {
        let segment = |address, offset, executable| Segment {
            address,
            offset,
            size: 0x1800,
            executable,
            writable: !executable,
        };
        let odd = [segment(0, 0, false), segment(0x3e10, 0x2e10, true)];
        assert_eq!(
            load_bias(&odd, &mapping(0x7000_3000, 0x2000)),
            Some(0x7000_0000)
        );
        let fixed = [segment(0x40_1000, 0x1000, true)];
        assert_eq!(load_bias(&fixed, &mapping(0x40_1000, 0x1000)), Some(0));
        assert_eq!(load_bias(&fixed, &mapping(0x40_1000, 0x9000)), None);
    }
}

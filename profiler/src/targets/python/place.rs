//! Where a CPython lies in one process.

use std::{ops::Range, sync::Arc};

use super::detect::Facts;
use crate::{
    arch::{Common as _, Machine, is_user},
    targets::{FileId, Mapping, elf::Segment},
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

/// What was added to a file's addresses when it was mapped, told by one mapping of it.
///
/// The segment is the one whose bytes, rounded out to pages, hold the mapping's file offset; its
/// virtual address and file offset may be odd, but agree below the page (ELF specification).
pub fn load_bias(segments: &[Segment], mapping: &Mapping) -> Option<u64> {
    let holds = |segment: &&Segment| {
        let first = segment.offset - segment.offset % PAGE;
        let end = segment.offset.saturating_add(segment.size);
        // Neighbouring segments may share a page of the file; each maps its own. The loader takes the right to write
        // from a part of its data: only where a segment begins is it certain which that is.
        segment.executable == mapping.is_executable
            && if mapping.is_executable {
                (first..end).contains(&mapping.file_offset)
            } else {
                first == mapping.file_offset
            }
    };
    let segment = segments.iter().find(holds)?;
    let address = segment
        .address
        .wrapping_sub(segment.offset)
        .wrapping_add(mapping.file_offset);
    Some(mapping.addresses.start.wrapping_sub(address))
}

/// Where the loader has mapped the code of a file, told by another mapping of it.
pub fn code(segments: &[Segment], bias: u64, file: FileId, path: &Arc<str>) -> Vec<Mapping> {
    let segments = segments.iter().filter(|segment| segment.executable);
    let mapped = |segment: &Segment| {
        let before = segment.offset % PAGE;
        let start = segment.address.wrapping_add(bias).wrapping_sub(before);
        let size = segment.size.checked_add(before)?;
        let end = start.checked_add(size.checked_next_multiple_of(PAGE)?)?;
        Some(Mapping {
            addresses: start..end,
            file_offset: segment.offset - before,
            file,
            is_executable: true,
            path: Arc::clone(path),
        })
    };
    segments.filter_map(mapped).collect()
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
    use super::{code, load_bias};
    use crate::targets::{FileId, Mapping, elf::Segment};

    fn mapping(start: u64, file_offset: u64) -> Mapping {
        Mapping {
            addresses: start..start + 0x1000,
            file_offset,
            file: FileId {
                device: 1,
                inode: 1,
            },
            is_executable: true,
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
        // Without its code: only where another segment begins.
        let data = |start, file_offset| Mapping {
            is_executable: false,
            ..mapping(start, file_offset)
        };
        assert_eq!(load_bias(&odd, &data(0x7000_0000, 0)), Some(0x7000_0000));
        assert_eq!(load_bias(&odd, &data(0x7000_1000, 0x1000)), None);
        assert_eq!(load_bias(&odd, &data(0x7000_3000, 0x2000)), None);
        let [code] = &code(&odd, 0x7000_0000, data(0, 0).file, &"x".into())[..] else {
            panic!("one segment has code");
        };
        assert_eq!(code.addresses, 0x7000_3000..0x7000_6000);
        assert_eq!(load_bias(&odd, code), Some(0x7000_0000));
    }
}

//! A file as the loader has mapped it, read from the memory of a process: for files that cannot be opened, such as those
//! of a file system that another user has mounted (FUSE).
//!
//! Sections are not mapped. Those that matter are made up from what the loader goes by: its dynamic section names the
//! symbols and the relocations, and the program headers the notes.

mod sections;

use std::{fs::File, io, os::unix::fs::FileExt as _};

use object::{
    elf,
    read::elf::{FileHeader as _, ProgramHeader as _},
};

use super::{ENDIAN, Header, Segment};
use crate::arch::{Common as _, Machine};

/// Bytes of the start of a file in which its headers are.
const HEAD: usize = 4096;
/// A file that a process has loaded.
#[derive(Debug)]
pub struct Image {
    memory: File,
    /// What was added to the file's addresses.
    bias: u64,
    segments: Vec<Segment>,
    /// What stands for the file's own headers, and at its end for those of its sections.
    head: Vec<u8>,
    tail: Vec<u8>,
    tail_at: u64,
}

impl Image {
    /// The file whose first byte lies at an address in a process's memory; `None` if there is none.
    pub fn read(memory: File, start: u64) -> Option<Self> {
        let mut head = vec![0; HEAD];
        memory.read_exact_at(&mut head, start).ok()?;
        let header = Header::parse(&*head).ok()?;
        let headers = header.program_headers(ENDIAN, &*head).ok()?.to_vec();
        let loaded = headers
            .iter()
            .filter(|it| it.p_type(ENDIAN) == elf::PT_LOAD);
        let segments: Vec<Segment> = loaded.map(Segment::new).collect();
        let first = segments.iter().find(|it| it.offset < Machine::PAGE)?;
        let bias = start.wrapping_sub(first.address.wrapping_sub(first.offset));
        let ends = segments.iter().map(|it| it.offset.checked_add(it.size));
        let end = ends.max().flatten()?;
        let mut image = Self {
            memory,
            bias,
            segments,
            head,
            tail: Vec::new(),
            tail_at: end.checked_next_multiple_of(8)?,
        };
        let sections = image.sections(&headers)?;
        image.put_sections(&sections)?;
        Some(image)
    }

    /// Bytes of the file.
    pub fn size(&self) -> u64 {
        self.tail_at.saturating_add(self.tail.len() as u64)
    }

    /// Reads from an offset in the file on, as far as one of its parts goes.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let parts = [(0, &self.head), (self.tail_at, &self.tail)];
        for (start, bytes) in parts {
            let inside = offset
                .checked_sub(start)
                .and_then(|it| usize::try_from(it).ok());
            let rest = inside.and_then(|inside| bytes.get(inside..));
            if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
                let size = rest.len().min(buffer.len());
                let (to, from) = (buffer.get_mut(..size), rest.get(..size));
                if let (Some(to), Some(from)) = (to, from) {
                    to.copy_from_slice(from);
                }
                return Ok(size);
            }
        }
        let held = self.segments.iter().find_map(|segment| {
            let inside = offset.checked_sub(segment.offset)?;
            let left = segment.size.checked_sub(inside).filter(|&left| left > 0)?;
            Some((segment.address.wrapping_add(inside), left))
        });
        let (address, left) = held.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let buffer = buffer.get_mut(..size).unwrap_or_default();
        self.memory.read_at(buffer, address.wrapping_add(self.bias))
    }

    /// Fills a buffer with what lies at an address of the file.
    fn fill(&self, address: u64, buffer: &mut [u8]) -> Option<()> {
        let place = address.wrapping_add(self.bias);
        // Above lies the kernel, whose addresses `pread` would take for negative offsets.
        let is_user = place < Machine::USER_END;
        is_user.then(|| self.memory.read_exact_at(buffer, place).ok())?
    }

    fn half(&self, address: u64) -> Option<u64> {
        let mut bytes = [0; 4];
        self.fill(address, &mut bytes)?;
        Some(u32::from_le_bytes(bytes).into())
    }

    /// The offset in the file of an address.
    fn offset(&self, address: u64) -> Option<u64> {
        let mut segments = self.segments.iter();
        segments.find_map(|segment| segment.file_offset(address))
    }

    /// The address in the file that an entry of the dynamic section means: some loaders add the bias to it in memory.
    fn unmoved(&self, value: u64) -> u64 {
        let unmoved = value.wrapping_sub(self.bias);
        if self.offset(unmoved).is_some() {
            unmoved
        } else {
            value
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::Image;
    use crate::{
        id::Pid,
        targets::{
            elf::{Elf, data_of},
            mappings,
        },
    };

    /// What the C library of this very process is in memory says the same as its file.
    #[test]
    fn a_library_in_memory() {
        let own = Pid(std::process::id());
        let mapped = mappings::read(own).unwrap();
        let libc = mapped.iter().find(|it| it.path.contains("/libc.so"));
        let libc = libc.unwrap();
        let file = mappings::open(own, libc).unwrap().data();
        let file = Elf::parse(&file).unwrap();
        let loaded = data_of(mappings::loaded(own, libc).unwrap());
        let loaded = Elf::parse(&loaded).unwrap();
        let names = ["gnu_get_libc_version", "environ", "no_such_symbol"];
        assert_eq!(loaded.dynamic_symbols(names), file.dynamic_symbols(names));
        assert_eq!(loaded.words_of_symbols(names), file.words_of_symbols(names));
        assert_eq!(loaded.build_id(), file.build_id());
        assert_eq!(loaded.segments(), file.segments());
        let [version, ..] = file.dynamic_symbols(names).unwrap();
        let code = version.unwrap().address;
        assert_eq!(loaded.code(code, 16), file.code(code, 16));
        let (start, constants) = loaded.section(".rodata").unwrap();
        assert_eq!(file.bytes(start, 64).unwrap(), &constants[..64]);
        assert!(loaded.is_stripped());
    }

    /// Memory that is no file of this kind, or is not there, is refused.
    #[test]
    fn other_memory() {
        let memory = || File::open("/proc/self/mem").unwrap();
        let zeros = vec![0_u8; 1 << 16];
        assert!(Image::read(memory(), zeros.as_ptr().addr() as u64).is_none());
        assert!(Image::read(memory(), 0).is_none());
    }
}

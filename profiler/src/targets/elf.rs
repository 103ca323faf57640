//! Files of targets as ELF, read with bounds: a hostile file costs a refusal, nothing more.

mod file;
mod image;
mod relocations;
mod symbols;

use std::ops::{ControlFlow, Range};

use object::{
    LittleEndian, elf,
    read::{
        ReadRef as _,
        elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, SectionTable},
    },
};

pub use self::{
    file::{Data, ElfError, FileState, OpenFile, Piece, data_of},
    image::Image,
    relocations::RelocationType,
    symbols::{Symbol, SymbolSections},
};
use crate::arch::{Architecture as _, Machine};

/// The header of the files that are read.
pub(super) type Header = elf::FileHeader64<LittleEndian>;
/// The header of one of their segments.
type ProgramHeader = elf::ProgramHeader64<LittleEndian>;
/// The header of one of their sections.
type SectionHeader = elf::SectionHeader64<LittleEndian>;
/// Their order of bytes.
pub(super) const ENDIAN: LittleEndian = LittleEndian;

/// One `PT_LOAD` segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Segment {
    /// Virtual address of its first byte.
    pub address: u64,
    /// Offset in the file of its first byte.
    pub offset: u64,
    /// Bytes it has in the file.
    pub size: u64,
    /// Whether it is mapped executable.
    pub executable: bool,
    /// Whether it is mapped writable.
    pub writable: bool,
}

impl Segment {
    fn new(header: &ProgramHeader) -> Self {
        Self {
            address: header.p_vaddr(ENDIAN),
            offset: header.p_offset(ENDIAN),
            size: header.p_filesz(ENDIAN),
            executable: header.p_flags(ENDIAN).contains(elf::PF_X),
            writable: header.p_flags(ENDIAN).contains(elf::PF_W),
        }
    }

    /// Offset in the file of a virtual address, if the segment has its byte.
    fn file_offset(&self, address: u64) -> Option<u64> {
        let inside = address.checked_sub(self.address)?;
        (inside < self.size).then(|| self.offset.checked_add(inside))?
    }
}

/// The `PT_TLS` segment: what a thread gets of the file's thread-locals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ThreadLocals {
    /// Virtual address of its first byte.
    pub address: u64,
    /// Bytes each thread gets.
    pub size: u64,
    /// What its address is a multiple of in a thread, but for what [`Self::address`] is off; 0 and 1
    /// for any address.
    pub alignment: u64,
}

impl ThreadLocals {
    fn new(header: &ProgramHeader) -> Self {
        Self {
            address: header.p_vaddr(ENDIAN),
            size: header.p_memsz(ENDIAN),
            alignment: header.p_align(ENDIAN),
        }
    }
}

/// An ELF file.
pub struct Elf<'data> {
    data: &'data Data,
    sections: SectionTable<'data, Header, &'data Data>,
    segments: Vec<Segment>,
    thread_locals: Option<ThreadLocals>,
    dynamic: bool,
    /// Where it starts, if it is a program.
    entry: Option<u64>,
}

impl<'data> Elf<'data> {
    /// Reads the headers: file, segments, sections.
    pub fn parse(data: &'data Data) -> Result<Self, ElfError> {
        let header = Header::parse(data).ok().ok_or(ElfError::NotElf)?;
        if header.e_machine(ENDIAN) != Machine::ELF_MACHINE || !header.is_little_endian() {
            return Err(ElfError::NotElf);
        }
        let headers = header
            .program_headers(ENDIAN, data)
            .ok()
            .ok_or(ElfError::Malformed("program headers"))?;
        let dynamic = header.e_type(ENDIAN) == elf::ET_DYN;
        let asks_for_loader = headers
            .iter()
            .any(|header| header.p_type(ENDIAN) == elf::PT_INTERP);
        let segments = headers
            .iter()
            .filter(|segment| segment.p_type(ENDIAN) == elf::PT_LOAD)
            .map(Segment::new)
            .collect();
        let thread_locals = headers
            .iter()
            .find(|segment| segment.p_type(ENDIAN) == elf::PT_TLS)
            .map(ThreadLocals::new);
        let sections = header
            .sections(ENDIAN, data)
            .ok()
            .ok_or(ElfError::Malformed("section headers"))?;
        Ok(Self {
            data,
            sections,
            segments,
            thread_locals,
            dynamic,
            entry: (!dynamic || asks_for_loader).then(|| header.e_entry(ENDIAN)),
        })
    }

    /// Its `PT_LOAD` segments.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Its thread-locals, if it has any.
    pub fn thread_locals(&self) -> Option<ThreadLocals> {
        self.thread_locals
    }

    /// The address at which it starts, if it is a program and not a library.
    pub fn entry(&self) -> Option<u64> {
        self.entry
    }

    /// Addresses of the sections that are loaded.
    pub fn section_addresses(&self) -> Vec<Range<u64>> {
        self.sections
            .iter()
            .filter(|section| section.sh_flags(ENDIAN).contains(elf::SHF_ALLOC))
            .map(|section| {
                let start = section.sh_addr(ENDIAN);
                start..start.saturating_add(section.sh_size(ENDIAN))
            })
            .collect()
    }

    /// Its GNU build id in lower-case hex, if it has one.
    pub fn build_id(&self) -> Option<String> {
        let notes = self.sections.iter().filter_map(|section| {
            let notes = section.notes(ENDIAN, self.data).ok()?;
            notes.map(|notes| notes.map_while(Result::ok))
        });
        let is_id = |name: &[u8], kind| name == elf::ELF_NOTE_GNU && kind == elf::NT_GNU_BUILD_ID;
        let mut notes = notes.flatten();
        let id = notes.find(|note| is_id(note.name(), note.n_type(ENDIAN)))?;
        Some(hex(id.desc()))
    }

    /// Whether it can be loaded anywhere (a shared library or a PIE).
    pub fn is_relocatable(&self) -> bool {
        self.dynamic
    }

    /// Whether it has lost its `.symtab`.
    pub fn is_stripped(&self) -> bool {
        !self
            .sections
            .iter()
            .any(|section| section.sh_type(ENDIAN) == elf::SHT_SYMTAB)
    }

    fn section_header(&self, name: &str) -> Option<&'data SectionHeader> {
        self.sections.iter().find(|section| {
            self.sections
                .section_name(ENDIAN, section)
                .is_ok_and(|it| it == name.as_bytes())
        })
    }

    /// Shows the bytes of a section piece by piece, as [`Data::search`] does; its address, unless that is not known.
    pub fn search_section(
        &self,
        name: &str,
        overlap: usize,
        look: impl FnMut(Piece<'_>) -> ControlFlow<()>,
    ) -> Option<u64> {
        let section = self.section_header(name)?;
        let (start, size) = section.file_range(ENDIAN)?;
        self.data
            .search(start..start.checked_add(size)?, overlap, look)?;
        Some(section.sh_addr(ENDIAN))
    }

    /// Address and bytes of a section.
    pub fn section(&self, name: &str) -> Option<(u64, &'data [u8])> {
        let section = self.section_header(name)?;
        let bytes = section.data(ENDIAN, self.data).ok()?;
        Some((section.sh_addr(ENDIAN), bytes))
    }

    /// Offset in the file of a virtual address, if the file has its byte.
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        let mut segments = self.segments.iter();
        segments.find_map(|segment| segment.file_offset(address))
    }

    /// The code at a virtual address, `most` bytes of it, or what its segment has.
    pub fn code(&self, address: u64, most: u64) -> Option<&'data [u8]> {
        let segment = self.segments.iter().find(|segment| {
            let inside = address.checked_sub(segment.address);
            segment.executable && inside.is_some_and(|inside| inside < segment.size)
        })?;
        let left = segment.size - (address - segment.address);
        self.bytes(address, left.min(most))
    }

    /// Bytes of the file at a virtual address.
    pub fn bytes(&self, address: u64, size: u64) -> Option<&'data [u8]> {
        let offset = self.file_offset(address)?;
        self.data.read_bytes_at(offset, size).ok()
    }
}

fn hex(bytes: &[u8]) -> String {
    let digit = |it: u8| char::from_digit(it.into(), 16).unwrap_or_default();
    let digits = |byte: &u8| [digit(byte >> 4), digit(byte & 0xf)];
    bytes.iter().flat_map(digits).collect()
}

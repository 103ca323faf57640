//! Files of targets as ELF, read with bounds: a hostile file costs a refusal, nothing more.

use std::{
    fs::File,
    io,
    ops::Range,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::Path,
};

use object::{
    LittleEndian, elf,
    read::{
        ReadCache, ReadCacheOps, ReadRef as _,
        elf::{FileHeader as _, ProgramHeader as _, SectionHeader as _, SectionTable, Sym as _},
    },
};

use crate::arch::{Architecture as _, Machine};

/// Bytes read of one file before it is given up: a stripped `libpython` needs less than 3 MiB.
const MAX_READ: u64 = 48 << 20;
/// Symbols looked at in one table.
const MAX_SYMBOLS: usize = 400_000;
/// Relocations looked at in one table: a `libpython` has some 20,000.
const MAX_RELOCATIONS: usize = 400_000;

/// The header of the files that are read.
pub(super) type Header = elf::FileHeader64<LittleEndian>;
/// Their order of bytes.
pub(super) const ENDIAN: LittleEndian = LittleEndian;

/// Why a file could not be read as ELF.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ElfError {
    /// It could not be opened or read.
    #[error("cannot read the file: {0}")]
    Io(io::ErrorKind),
    /// A pipe, a device, a directory.
    #[error("not a regular file")]
    NotRegular,
    /// Not a 64-bit little-endian ELF file of this machine.
    #[error("not an ELF file of this machine")]
    NotElf,
    /// A table is cut, out of bounds or over budget.
    #[error("malformed ELF: {0}")]
    Malformed(&'static str),
}

/// What tells one state of a file from another: a file that is replaced or rewritten is another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileState {
    /// Device, as `stat` gives it.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Bytes.
    pub size: u64,
    /// When it was last written: seconds and nanoseconds.
    pub modified: (i64, i64),
}

/// A regular file that is open for `pread`.
#[derive(Debug)]
pub struct OpenFile {
    file: File,
    /// Which file, in which state.
    pub state: FileState,
}

impl OpenFile {
    /// Opens a target's file without ever blocking on it: `O_NONBLOCK`, regular files only.
    pub fn open(path: &Path) -> Result<Self, ElfError> {
        let nonblock = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
        let flags = i32::try_from(nonblock.bits()).unwrap_or(0);
        let file = File::options()
            .read(true)
            .custom_flags(flags)
            .open(path)
            .map_err(|error| ElfError::Io(error.kind()))?;
        let metadata = file
            .metadata()
            .map_err(|error| ElfError::Io(error.kind()))?;
        if !metadata.is_file() {
            return Err(ElfError::NotRegular);
        }
        let state = FileState {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        };
        Ok(Self { file, state })
    }

    /// The same file, open once more.
    pub fn another(&self) -> Result<Self, ElfError> {
        let file = self.file.try_clone();
        Ok(Self {
            file: file.map_err(|error| ElfError::Io(error.kind()))?,
            state: self.state,
        })
    }

    /// Fills a buffer from a place on.
    pub fn fill(&self, start: u64, buffer: &mut [u8]) -> Result<(), ElfError> {
        let read = self.file.read_exact_at(buffer, start);
        read.map_err(|error| ElfError::Io(error.kind()))
    }

    /// Its bytes, read as they are asked for.
    pub fn data(self) -> Data {
        ReadCache::new(Budgeted {
            size: self.state.size,
            file: self.file,
            position: 0,
            left: MAX_READ,
        })
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for OpenFile {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// The bytes of a file, read with `pread` and kept as long as this lives.
pub type Data = ReadCache<Budgeted>;

/// A file of which only so much may be read.
#[derive(Debug)]
pub struct Budgeted {
    file: File,
    size: u64,
    position: u64,
    left: u64,
}

#[expect(
    clippy::map_err_ignore,
    reason = "the trait's error type is the unit: what happened cannot be told"
)]
impl ReadCacheOps for Budgeted {
    fn len(&mut self) -> Result<u64, ()> {
        Ok(self.size)
    }

    fn seek(&mut self, position: u64) -> Result<u64, ()> {
        self.position = position;
        Ok(position)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ()> {
        self.left = self.left.checked_sub(buffer.len() as u64).ok_or(())?;
        let read = self.file.read_at(buffer, self.position).map_err(|_| ())?;
        self.position += read as u64;
        Ok(read)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ()> {
        self.left = self.left.checked_sub(buffer.len() as u64).ok_or(())?;
        self.file
            .read_exact_at(buffer, self.position)
            .map_err(|_| ())?;
        self.position += buffer.len() as u64;
        Ok(())
    }
}

/// A symbol that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its virtual address in the file.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
}

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

/// A table of symbols: where it lies in the file and how many bytes it has, and the same of its strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SymbolSections {
    /// The symbols.
    pub symbols: (u64, u64),
    /// Their names.
    pub strings: (u64, u64),
    /// Whether it is `.dynsym`, which has what is exported only.
    pub is_dynamic: bool,
}

/// What the loader writes into a word, by the psABI's number.
pub use elf::RelocationType;

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
            .map(|segment| Segment {
                address: segment.p_vaddr(ENDIAN),
                offset: segment.p_offset(ENDIAN),
                size: segment.p_filesz(ENDIAN),
                executable: segment.p_flags(ENDIAN).contains(elf::PF_X),
                writable: segment.p_flags(ENDIAN).contains(elf::PF_W),
            })
            .collect();
        let thread_locals = headers
            .iter()
            .find(|segment| segment.p_type(ENDIAN) == elf::PT_TLS)
            .map(|segment| ThreadLocals {
                address: segment.p_vaddr(ENDIAN),
                size: segment.p_memsz(ENDIAN),
                alignment: segment.p_align(ENDIAN),
            });
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

    /// Its tables of symbols, `.symtab` first: at most one of a kind, as the ELF specification has it.
    pub fn symbol_sections(&self) -> Vec<SymbolSections> {
        let of_kind = |kind| {
            let mut sections = self.sections.iter();
            let section = sections.find(|section| section.sh_type(ENDIAN) == kind)?;
            let strings = usize::try_from(section.sh_link(ENDIAN)).ok()?;
            Some(SymbolSections {
                symbols: section.file_range(ENDIAN)?,
                strings: self.sections.iter().nth(strings)?.file_range(ENDIAN)?,
                is_dynamic: kind == elf::SHT_DYNSYM,
            })
        };
        let kinds = [elf::SHT_SYMTAB, elf::SHT_DYNSYM];
        kinds.into_iter().filter_map(of_kind).collect()
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

    /// Address and bytes of a section.
    pub fn section(&self, name: &str) -> Option<(u64, &'data [u8])> {
        let section = self.sections.iter().find(|section| {
            self.sections
                .section_name(ENDIAN, section)
                .is_ok_and(|it| it == name.as_bytes())
        })?;
        let bytes = section.data(ENDIAN, self.data).ok()?;
        Some((section.sh_addr(ENDIAN), bytes))
    }

    /// The defined symbols of `.dynsym` with these names, in the order asked for.
    pub fn dynamic_symbols<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Option<Symbol>; N], ElfError> {
        self.symbols_of(elf::SHT_DYNSYM, names)
    }

    /// The same of `.symtab`, which a file that was stripped does not have.
    pub fn static_symbols<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Option<Symbol>; N], ElfError> {
        self.symbols_of(elf::SHT_SYMTAB, names)
    }

    /// Offsets in the `PT_TLS` segment of the thread-locals of `.symtab` with this name: files of one
    /// program may each have one of their own.
    pub fn thread_local_symbols(&self, name: &str) -> Result<Vec<u64>, ElfError> {
        let mut found = Vec::new();
        self.each_symbol(elf::SHT_SYMTAB, |symbol, rest| {
            if symbol.st_type() == elf::STT_TLS && is_string(rest, name) {
                found.push(symbol.st_value(ENDIAN));
            }
        })?;
        Ok(found)
    }

    fn symbols_of<const N: usize>(
        &self,
        table: elf::SectionType,
        names: [&str; N],
    ) -> Result<[Option<Symbol>; N], ElfError> {
        let mut found = [None; N];
        self.each_symbol(table, |symbol, rest| {
            let hit = names.iter().position(|name| is_string(rest, name));
            if let Some(slot) = hit.and_then(|hit| found.get_mut(hit)) {
                *slot = Some(Symbol {
                    address: symbol.st_value(ENDIAN),
                    size: symbol.st_size(ENDIAN),
                });
            }
        })?;
        Ok(found)
    }

    /// Shows each defined symbol of a table, with the bytes of the string table from its name on.
    fn each_symbol(
        &self,
        table: elf::SectionType,
        mut show: impl FnMut(&elf::Sym64<LittleEndian>, &[u8]),
    ) -> Result<(), ElfError> {
        let Some(section) = self
            .sections
            .iter()
            .find(|section| section.sh_type(ENDIAN) == table)
        else {
            return Ok(());
        };
        let symbols: &[elf::Sym64<LittleEndian>] = section
            .data_as_array(ENDIAN, self.data)
            .ok()
            .ok_or(ElfError::Malformed("symbol table"))?;
        let strings = self
            .sections
            .iter()
            .nth(usize::try_from(section.sh_link(ENDIAN)).unwrap_or(usize::MAX))
            .and_then(|strings| strings.data(ENDIAN, self.data).ok())
            .ok_or(ElfError::Malformed("string table"))?;
        for symbol in symbols.iter().take(MAX_SYMBOLS) {
            let start = usize::try_from(symbol.st_name(ENDIAN)).unwrap_or(usize::MAX);
            if symbol.st_shndx(ENDIAN) != elf::SHN_UNDEF {
                show(symbol, strings.get(start..).unwrap_or_default());
            }
        }
        Ok(())
    }

    /// Offset in the file of a virtual address, if the file has its byte.
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        self.segments.iter().find_map(|segment| {
            let inside = address.checked_sub(segment.address)?;
            (inside < segment.size).then(|| segment.offset.checked_add(inside))?
        })
    }

    /// What the loader writes at a virtual address: the type of the relocation of that very word
    /// (`R_X86_64_*`); `None` if it writes nothing there.
    pub fn relocation(&self, address: u64) -> Option<RelocationType> {
        self.sections
            .iter()
            .filter(|section| {
                section.sh_type(ENDIAN) == elf::SHT_RELA
                    && section.sh_flags(ENDIAN).contains(elf::SHF_ALLOC)
            })
            .filter_map(|section| section.data_as_array(ENDIAN, self.data).ok())
            .flat_map(|table: &[elf::Rela64<LittleEndian>]| table.iter().take(MAX_RELOCATIONS))
            .find(|relocation| relocation.r_offset.get(ENDIAN) == address)
            .map(|relocation| relocation.r_type(ENDIAN, false))
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

/// Whether a NUL-terminated string is this one.
fn is_string(bytes: &[u8], string: &str) -> bool {
    bytes
        .strip_prefix(string.as_bytes())
        .is_some_and(|rest| rest.first() == Some(&0))
}

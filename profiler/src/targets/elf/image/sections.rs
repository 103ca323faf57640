//! The sections that stand for what the loader does not map.

use object::{elf, read::elf::ProgramHeader as _};

use super::Image;
use crate::targets::elf::{ENDIAN, ProgramHeader, Segment};

/// Bytes of a dynamic section that are read: those of large libraries have some 600.
const MAX_DYNAMIC: u64 = 64 << 10;
/// Symbols of a table.
const MAX_SYMBOLS: u64 = 400_000;
/// Words of a chain of symbols' hashes that are looked at for its end.
const MAX_CHAIN: usize = 4096;
/// Bytes of a symbol, a relocation and the header of a section in a file.
const SYMBOL: u64 = 24;
const RELOCATION: u64 = 24;
const SECTION: u64 = 64;

/// A section that is made up.
pub(super) struct Section {
    name: &'static str,
    kind: elf::SectionType,
    address: u64,
    offset: u64,
    size: u64,
    /// The index of another section that it needs.
    link: u32,
    entry: u64,
}

impl Image {
    /// The sections that stand for what is not mapped, the first of them empty as in every file.
    pub(super) fn sections(&self, headers: &[ProgramHeader]) -> Option<Vec<Section>> {
        let dynamic = self.dynamic(headers)?;
        let constants = self.constants()?;
        let (address, size) = (Some(constants.address), constants.size);
        let mut sections = vec![self.section("", elf::SHT_NULL, None, 0)?];
        sections.extend(self.symbols(&dynamic)?);
        sections.extend(self.relocations(&dynamic));
        let notes = headers
            .iter()
            .filter(|it| it.p_type(ENDIAN) == elf::PT_NOTE);
        for note in notes {
            let (address, size) = (note.p_vaddr(ENDIAN), note.p_filesz(ENDIAN));
            sections.extend(self.section(".note", elf::SHT_NOTE, Some(address), size));
        }
        sections.push(self.section(".rodata", elf::SHT_PROGBITS, address, size)?);
        Some(sections)
    }

    fn dynamic(&self, headers: &[ProgramHeader]) -> Option<Dynamic> {
        let header = headers
            .iter()
            .find(|it| it.p_type(ENDIAN) == elf::PT_DYNAMIC)?;
        let size = header.p_memsz(ENDIAN).min(MAX_DYNAMIC);
        let mut bytes = vec![0; usize::try_from(size).ok()?];
        self.fill(header.p_vaddr(ENDIAN), &mut bytes)?;
        let entries = bytes.as_chunks::<16>().0.iter();
        let entries = entries.map(|entry| (word(entry.first_chunk()), word(entry.last_chunk())));
        let end = elf::DT_NULL.0.cast_unsigned();
        Some(Dynamic(
            entries.take_while(|&(tag, _)| tag != end).collect(),
        ))
    }

    /// What an entry of the dynamic section means, as an address in the file.
    fn place(&self, dynamic: &Dynamic, tag: elf::DynamicTag) -> Option<u64> {
        dynamic.value(tag).map(|it| self.unmoved(it))
    }

    fn symbols(&self, dynamic: &Dynamic) -> Option<[Section; 2]> {
        let at = |tag| self.place(dynamic, tag);
        let count = self.symbol_count(at(elf::DT_HASH), at(elf::DT_GNU_HASH))?;
        let (symbols, strings) = (at(elf::DT_SYMTAB)?, at(elf::DT_STRTAB)?);
        let size = dynamic.value(elf::DT_STRSZ)?;
        Some([
            self.section(".dynsym", elf::SHT_DYNSYM, Some(symbols), count * SYMBOL)?,
            self.section(".dynstr", elf::SHT_STRTAB, Some(strings), size)?,
        ])
    }

    fn relocations(&self, dynamic: &Dynamic) -> Vec<Section> {
        let tables = [
            (elf::DT_RELA, elf::DT_RELASZ),
            (elf::DT_JMPREL, elf::DT_PLTRELSZ),
        ];
        let section = |(place, size)| {
            let place = self.place(dynamic, place)?;
            self.section(".rela", elf::SHT_RELA, Some(place), dynamic.value(size)?)
        };
        tables.into_iter().filter_map(section).collect()
    }

    /// The segment with the read-only data: the last that is neither code nor can be written, or the code if there is
    /// none.
    fn constants(&self) -> Option<&Segment> {
        let is_constant = |it: &&Segment| !it.writable && !it.executable;
        let last = self.segments.iter().rfind(is_constant);
        last.or_else(|| self.segments.iter().find(|it| it.executable))
    }

    /// How many symbols there are, by a table of their hashes.
    fn symbol_count(&self, hashes: Option<u64>, gnu_hashes: Option<u64>) -> Option<u64> {
        if let Some(hashes) = hashes {
            return self
                .half(hashes.wrapping_add(4))
                .map(|it| it.min(MAX_SYMBOLS));
        }
        let hashes = gnu_hashes?;
        let buckets = self.half(hashes)?.min(MAX_SYMBOLS);
        let first = self.half(hashes.wrapping_add(4))?;
        let bloom = self.half(hashes.wrapping_add(8))?;
        let buckets_at = hashes.wrapping_add(16).wrapping_add(8 * bloom);
        let mut bytes = vec![0; usize::try_from(4 * buckets).ok()?];
        self.fill(buckets_at, &mut bytes)?;
        let last = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .map(|it| u32::from_le_bytes(*it));
        let last = u64::from(last.max().unwrap_or(0));
        let Some(inside) = last.checked_sub(first) else {
            return Some(first.min(MAX_SYMBOLS));
        };
        // The hash of the last symbol of a chain is odd.
        let chain = buckets_at
            .wrapping_add(4 * buckets)
            .wrapping_add(4 * inside);
        let words = (0_u64..).take(MAX_CHAIN);
        let mut words = words.map_while(|index| self.half(chain.wrapping_add(4 * index)));
        let length = words.position(|hash| hash & 1 == 1)?;
        Some((last + length as u64 + 1).min(MAX_SYMBOLS))
    }

    /// A section of these bytes, which are in the file; an empty one without an address.
    fn section(
        &self,
        name: &'static str,
        kind: elf::SectionType,
        address: Option<u64>,
        size: u64,
    ) -> Option<Section> {
        let offset = match address {
            Some(address) => self.offset(address)?,
            None => 0,
        };
        let (link, entry) = match kind {
            elf::SHT_DYNSYM => (2, SYMBOL),
            elf::SHT_RELA => (1, RELOCATION),
            _ => (0, 0),
        };
        Some(Section {
            name,
            kind,
            address: address.unwrap_or(0),
            offset,
            size: if address.is_some() { size } else { 0 },
            link,
            entry,
        })
    }

    /// Writes the headers of the sections and their names behind the file, and into its own header where they are.
    pub(super) fn put_sections(&mut self, sections: &[Section]) -> Option<()> {
        let count = sections.len() as u64 + 1;
        let names_at = self.tail_at.checked_add(count * SECTION)?;
        let mut names = b"\0".to_vec();
        let mut tail = Vec::new();
        let mut put = |section: &Section, names: &mut Vec<u8>| {
            let name = u32::try_from(names.len()).unwrap_or(0);
            names.extend(section.name.bytes().chain([0]));
            tail.extend([name, section.kind.0].map(u32::to_le_bytes).concat());
            let flags = if section.address == 0 {
                0
            } else {
                elf::SHF_ALLOC.0
            };
            let words = [flags, section.address, section.offset, section.size];
            tail.extend(words.map(u64::to_le_bytes).concat());
            tail.extend([section.link, 0].map(u32::to_le_bytes).concat());
            tail.extend([1, section.entry].map(u64::to_le_bytes).concat());
        };
        for section in sections {
            put(section, &mut names);
        }
        let of_names = Section {
            name: "",
            kind: elf::SHT_STRTAB,
            address: 0,
            offset: names_at,
            size: names.len() as u64,
            link: 0,
            entry: 0,
        };
        put(&of_names, &mut names);
        tail.extend(names);
        self.tail = tail;
        let count = u16::try_from(count).ok()?;
        let size = u16::try_from(SECTION).ok()?;
        // `e_shoff`, and `e_shentsize`, `e_shnum` and `e_shstrndx` (`Elf64_Ehdr`).
        self.head
            .get_mut(40..48)?
            .copy_from_slice(&self.tail_at.to_le_bytes());
        let last = [size, count, count - 1].map(u16::to_le_bytes).concat();
        self.head.get_mut(58..64)?.copy_from_slice(&last);
        Some(())
    }
}

fn word(bytes: Option<&[u8; 8]>) -> u64 {
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// The entries of a dynamic section.
struct Dynamic(Vec<(u64, u64)>);

impl Dynamic {
    fn value(&self, tag: elf::DynamicTag) -> Option<u64> {
        let entry = self.0.iter().find(|(it, _)| *it == tag.0.cast_unsigned());
        entry.map(|&(_, value)| value)
    }
}

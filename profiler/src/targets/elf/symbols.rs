//! The symbols of a file: where their tables lie, and those that are asked for by name.

use object::{
    LittleEndian, elf,
    read::elf::{SectionHeader as _, Sym as _},
};

use super::{ENDIAN, Elf, ElfError};

/// Symbols looked at in one table.
const MAX_SYMBOLS: usize = 400_000;

/// A symbol that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol {
    /// Its virtual address in the file.
    pub address: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// A table of symbols, and the strings of their names.
pub(super) type Table<'data> = (&'data [elf::Sym64<LittleEndian>], &'data [u8]);

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

impl<'data> Elf<'data> {
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

    /// The same of `.dynsym`, or of `.symtab` if none of them is exported: that table is large, and a file that exports
    /// one of several exports the others, too, if it has them. A `.symtab` that cannot be read is none.
    pub fn symbols<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Option<Symbol>; N], ElfError> {
        let exported = self.dynamic_symbols(names)?;
        if exported.iter().any(Option::is_some) {
            return Ok(exported);
        }
        Ok(self.static_symbols(names).unwrap_or(exported))
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

    /// The symbols of a table and the strings of their names; `None` if the file has no such table.
    pub(super) fn symbol_table(
        &self,
        table: elf::SectionType,
    ) -> Result<Option<Table<'data>>, ElfError> {
        let Some(section) = self
            .sections
            .iter()
            .find(|section| section.sh_type(ENDIAN) == table)
        else {
            return Ok(None);
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
        Ok(Some((symbols, strings)))
    }

    /// Shows each defined symbol of a table, with the bytes of the string table from its name on.
    fn each_symbol(
        &self,
        table: elf::SectionType,
        mut show: impl FnMut(&elf::Sym64<LittleEndian>, &[u8]),
    ) -> Result<(), ElfError> {
        let Some((symbols, strings)) = self.symbol_table(table)? else {
            return Ok(());
        };
        for symbol in symbols.iter().take(MAX_SYMBOLS) {
            let start = usize::try_from(symbol.st_name(ENDIAN)).unwrap_or(usize::MAX);
            if symbol.st_shndx(ENDIAN) != elf::SHN_UNDEF {
                show(symbol, strings.get(start..).unwrap_or_default());
            }
        }
        Ok(())
    }
}

/// Whether a NUL-terminated string is this one.
pub(super) fn is_string(bytes: &[u8], string: &str) -> bool {
    bytes
        .strip_prefix(string.as_bytes())
        .is_some_and(|rest| rest.first() == Some(&0))
}

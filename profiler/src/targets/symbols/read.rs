//! One file's symbols, read with bounds.

use object::elf::{STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE};

use super::{FileSymbols, Found, MAX_FILE_BYTES, MAX_FUNCTIONS, MAX_READ, Names, Unnamed, Wanted};
use crate::targets::{
    elf::{Elf, ElfError, OpenFile, SymbolSections},
    mappings,
};

/// Bytes of a symbol in the file (`Elf64_Sym`), and how many symbols are read at once.
const SYMBOL: usize = 24;
const AT_ONCE: usize = 32 << 10;

/// Reads the symbols of the file that a process maps. May block for as long as the file's server does not answer.
pub fn read(wanted: &Wanted) -> FileSymbols {
    let opened = mappings::open(wanted.pid, &wanted.mapping);
    let read = opened
        .map_err(|error| reason(&error))
        .and_then(|file| read_file(&file));
    read.unwrap_or_else(|reason| {
        tracing::debug!("no symbols of {}: {reason:?}", wanted.mapping.path);
        FileSymbols::unnamed(reason)
    })
}

fn reason(error: &ElfError) -> Unnamed {
    match error {
        ElfError::Io(_) | ElfError::NotRegular => Unnamed::Unreadable,
        ElfError::NotElf | ElfError::Malformed(_) => Unnamed::Malformed,
    }
}

pub(super) fn read_file(file: &OpenFile) -> Result<FileSymbols, Unnamed> {
    let data = file.another().map_err(|error| reason(&error))?.data();
    let elf = Elf::parse(&data).map_err(|error| reason(&error))?;
    Ok(FileSymbols {
        build_id: elf.build_id().unwrap_or_default(),
        names: names(file, &elf),
    })
}

fn names(file: &OpenFile, elf: &Elf<'_>) -> Result<Names, Unnamed> {
    let tables = elf.symbol_sections();
    let sizes = tables.iter().flat_map(|it| [it.symbols.1, it.strings.1]);
    let all = sizes.fold(0, u64::saturating_add);
    if all > MAX_READ {
        return Err(Unnamed::TooLarge);
    }
    let sections = elf.section_addresses();
    let mut names = Names::new(elf.segments());
    for table in &tables {
        let found = functions(file, table, &names)?;
        let strings = bytes(file, table.strings)?;
        names.add(found, &strings, &sections);
        if names.bytes() > MAX_FILE_BYTES {
            return Err(Unnamed::TooLarge);
        }
    }
    Ok(names)
}

/// The functions of one table of symbols, in the order of the file.
fn functions(
    file: &OpenFile,
    table: &SymbolSections,
    names: &Names,
) -> Result<Vec<Found>, Unnamed> {
    let (start, size) = table.symbols;
    let mut found = Vec::new();
    let step = SYMBOL * AT_ONCE;
    for at in (0..size).step_by(step) {
        let some = bytes(
            file,
            (start.saturating_add(at), (size - at).min(step as u64)),
        )?;
        let symbols = some
            .as_chunks::<SYMBOL>()
            .0
            .iter()
            .filter_map(|it| symbol(it));
        found.extend(symbols.filter_map(|symbol| {
            let is_here = names.is_code(symbol.value);
            is_here.then(|| Found {
                start: symbol.value,
                size: Some(symbol.size).filter(|&size| size > 0),
                name: symbol.name,
                // A program exports only a small part of its code: a name without a size says nothing about the code
                // after it.
                goes_on: !table.is_dynamic,
            })
        }));
        if found.len() > MAX_FUNCTIONS {
            return Err(Unnamed::TooLarge);
        }
    }
    Ok(found)
}

/// A symbol that may be a function's and is defined in the file.
struct Symbol {
    name: u32,
    value: u64,
    size: u64,
}

/// `Elf64_Sym` of the ELF specification: name, type and binding, visibility, section, value, size.
fn symbol(bytes: &[u8]) -> Option<Symbol> {
    let (name, rest) = bytes.split_first_chunk()?;
    let (&[info, _], rest) = rest.split_first_chunk()?;
    let (section, rest) = rest.split_first_chunk()?;
    let (value, rest) = rest.split_first_chunk()?;
    let (size, _) = rest.split_first_chunk()?;
    let kind = info & 0xf;
    let may_be_function = [STT_FUNC, STT_GNU_IFUNC, STT_NOTYPE]
        .iter()
        .any(|it| it.0 == kind);
    let is_defined = u16::from_le_bytes(*section) != object::elf::SHN_UNDEF.0;
    (may_be_function && is_defined).then(|| Symbol {
        name: u32::from_le_bytes(*name),
        value: u64::from_le_bytes(*value),
        size: u64::from_le_bytes(*size),
    })
}

/// Bytes of the file: where they begin, and how many.
fn bytes(file: &OpenFile, (start, size): (u64, u64)) -> Result<Vec<u8>, Unnamed> {
    // A file may claim more bytes than it has: that is checked before memory is allocated for them.
    if start
        .checked_add(size)
        .is_none_or(|end| end > file.state.size)
    {
        return Err(Unnamed::Malformed);
    }
    let mut bytes = vec![0; usize::try_from(size).map_err(|_too_large| Unnamed::TooLarge)?];
    file.fill(start, &mut bytes)
        .map_err(|error| reason(&error))?;
    Ok(bytes)
}

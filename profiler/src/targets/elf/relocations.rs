//! What the loader writes into the data of a file.

use object::{
    LittleEndian, elf,
    read::elf::{SectionHeader as _, Sym as _},
};

use super::{ENDIAN, Elf, ElfError, symbols::is_string};
use crate::arch::{Architecture as _, Machine};

/// Relocations looked at in one table: a `libpython` has some 20,000.
const MAX_RELOCATIONS: usize = 400_000;

/// What the loader writes into a word, by the psABI's number.
pub use elf::RelocationType;

/// A word that the loader writes.
type Relocation = elf::Rela64<LittleEndian>;

impl<'data> Elf<'data> {
    /// The words that the loader writes.
    fn relocations(&self) -> impl Iterator<Item = &'data Relocation> {
        self.sections
            .iter()
            .filter(|section| {
                section.sh_type(ENDIAN) == elf::SHT_RELA
                    && section.sh_flags(ENDIAN).contains(elf::SHF_ALLOC)
            })
            .filter_map(|section| section.data_as_array(ENDIAN, self.data).ok())
            .flat_map(|table: &[Relocation]| table.iter().take(MAX_RELOCATIONS))
    }

    /// What the loader writes at a virtual address: the type of the relocation of that very word
    /// (`R_X86_64_*`); `None` if it writes nothing there.
    pub fn relocation(&self, address: u64) -> Option<RelocationType> {
        self.relocations()
            .find(|relocation| relocation.r_offset.get(ENDIAN) == address)
            .map(|relocation| relocation.r_type(ENDIAN, false))
    }

    /// The words into which the loader writes where it has found the symbols of these names, in the order asked for.
    /// The code of a library reads them there, as another file may define the same symbol and come first; a symbol
    /// that has no such word is always the file's own.
    pub fn words_of_symbols<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Option<u64>; N], ElfError> {
        let mut found = [None; N];
        let Some((symbols, strings)) = self.symbol_table(elf::SHT_DYNSYM)? else {
            return Ok(found);
        };
        for relocation in self.relocations() {
            if relocation.r_type(ENDIAN, false) != Machine::ADDRESS_OF_SYMBOL {
                continue;
            }
            let index = usize::try_from(relocation.r_sym(ENDIAN, false)).ok();
            let name = index
                .and_then(|index| symbols.get(index))
                .and_then(|symbol| strings.get(usize::try_from(symbol.st_name(ENDIAN)).ok()?..));
            let hit = names
                .iter()
                .position(|it| name.is_some_and(|name| is_string(name, it)));
            if let Some(word) = hit.and_then(|hit| found.get_mut(hit)) {
                *word = Some(relocation.r_offset.get(ENDIAN));
            }
        }
        Ok(found)
    }
}

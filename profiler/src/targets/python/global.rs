//! A global object of an interpreter.

use profiler_common::walk::ReadUser as _;

use crate::{
    arch::is_user,
    targets::{
        elf::{Elf, ElfError},
        look::memory::Memory,
    },
};

/// A global object, as the file of the interpreter says where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Global {
    /// Its address in the file.
    pub address: u64,
    /// The word of the file into which the loader writes where the object is; `None` if it is always the file's own.
    pub word: Option<u64>,
}

impl Global {
    /// Where the loader has put it; `None` if it has not yet.
    pub(super) fn loaded(self, memory: &Memory, bias: u64) -> Option<u64> {
        match self.word {
            Some(word) => memory.read_u64(word.wrapping_add(bias)),
            None => Some(self.address.wrapping_add(bias)),
        }
        .filter(|&address| is_user(address))
    }
}

/// The objects that these symbols name, as far as the file says.
pub(super) fn globals<const N: usize>(
    elf: &Elf<'_>,
    names: [&str; N],
) -> Result<[Option<Global>; N], ElfError> {
    let symbols = elf.symbols(names)?;
    let words = elf.words_of_symbols(names)?;
    let mut globals = [None; N];
    for ((global, symbol), word) in globals.iter_mut().zip(symbols).zip(words) {
        *global = symbol.map(|symbol| Global {
            address: symbol.address,
            word,
        });
    }
    Ok(globals)
}

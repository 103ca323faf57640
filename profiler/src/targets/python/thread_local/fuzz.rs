//! Code that no compiler made is followed to an end, and never further than allowed.

use std::path::Path;

use tempfile::TempDir;

use super::{code::returned, forms::compile};
use crate::targets::elf::{Elf, OpenFile};

/// The functions of a library, by address, its code, and its bytes.
struct Library {
    folder: TempDir,
    bytes: Vec<u8>,
    functions: Vec<(u64, usize, usize)>,
    text: (u64, usize, usize),
}

fn with_elf<T>(path: &Path, look: impl FnOnce(&Elf<'_>) -> T) -> T {
    let data = OpenFile::open(path).unwrap().data();
    look(&Elf::parse(&data).unwrap())
}

impl Library {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("functions.so");
        compile(
            "cc",
            &["-DFUNCTIONS", "-DLINKAGE=static", "-fPIC", "-shared", "-O0"],
            &path,
        );
        let (functions, text) = with_elf(&path, |elf| {
            let names = [
                "_PyThreadState_GetCurrent",
                "PyThreadState_GetUnchecked",
                "PyThreadState_Get",
            ];
            let functions = elf.dynamic_symbols(names).unwrap().map(|symbol| {
                let symbol = symbol.unwrap();
                let offset = elf.file_offset(symbol.address).unwrap();
                (
                    symbol.address,
                    usize::try_from(offset).unwrap(),
                    usize::try_from(symbol.size).unwrap(),
                )
            });
            let (address, code) = elf.section(".text").unwrap();
            let offset = usize::try_from(elf.file_offset(address).unwrap()).unwrap();
            (functions.to_vec(), (address, offset, code.len()))
        });
        let bytes = std::fs::read(&path).unwrap();
        Self {
            folder,
            bytes,
            functions,
            text,
        }
    }

    /// How many of these functions are understood in other bytes.
    fn understood(&self, bytes: &[u8], functions: impl IntoIterator<Item = u64>) -> usize {
        let path = self.folder.path().join("changed.so");
        std::fs::write(&path, bytes).unwrap();
        with_elf(&path, |elf| {
            let functions = functions.into_iter();
            functions
                .filter(|function| returned(elf, *function).is_some())
                .count()
        })
    }
}

/// Code of one changed byte may be another function, or none; in random code there is none to be
/// expected. Every byte of the code is tried as the start of a function.
#[test]
fn any_bytes_have_an_end() {
    let library = Library::new();
    let all = library.functions.iter().map(|(address, ..)| *address);
    assert_eq!(library.understood(&library.bytes, all), 3);
    let mut random = fastrand::Rng::with_seed(17);
    let mut changed = 0;
    for _ in 0..500 {
        for (address, offset, size) in &library.functions {
            let mut bytes = library.bytes.clone();
            bytes[offset + random.usize(..*size)] = random.u8(..);
            changed += 1 - library.understood(&bytes, [*address]);
        }
    }
    assert!((100..1500).contains(&changed), "{changed} of 1500");
    let (address, offset, size) = library.text;
    for _ in 0..100 {
        let mut bytes = library.bytes.clone();
        random.fill(&mut bytes[offset..offset + size]);
        library.understood(&bytes, address..address + size as u64);
    }
}

/// A loop is left, and so is code at the end of the address space.
#[test]
fn code_without_an_end() {
    let library = Library::new();
    let (address, offset, _) = library.text;
    for endless in [
        &b"\xeb\xfe"[..],
        // A call of itself fills the stack.
        b"\xe8\xfb\xff\xff\xff",
        b"\x50\xeb\xfd",
    ] {
        let mut bytes = library.bytes.clone();
        bytes[offset..offset + endless.len()].copy_from_slice(endless);
        assert_eq!(library.understood(&bytes, [address]), 0);
    }
    // The program headers come right after the header, and the second is that of the code.
    let mut bytes = library.bytes.clone();
    assert_eq!(bytes[64 + 56 + 4], 5, "read and execute");
    bytes[64 + 56 + 16..][..8].copy_from_slice(&(u64::MAX - 15).to_le_bytes());
    assert_eq!(library.understood(&bytes, u64::MAX - 15..=u64::MAX), 0);
}

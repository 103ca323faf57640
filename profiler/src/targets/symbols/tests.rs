//! Made-up tables, and this machine's own files compared with another reader.

use std::{collections::BTreeSet, fs, ops::Range, path::Path};

use blazesym::symbolize::{
    Input, Sym, Symbolized, Symbolizer,
    source::{Elf as ElfSource, Source},
};

use super::{FileSymbols, Found, Names, Unnamed, Wanted, read::read, read::read_file};
use crate::{
    id::Pid,
    targets::{
        Mapping,
        elf::{Elf, OpenFile, Segment},
        mappings,
    },
};

const STRINGS: &[u8] = b"\0first\0second\0__alias\0alias\0\xff\0";
const SECTIONS: [Range<u64>; 2] = [0x1000..0x1100, 0x3000..0x3100];

fn found(start: u64, size: u64, name: &str, goes_on: bool) -> Found {
    let at = memchr::memmem::find(STRINGS, format!("\0{name}\0").as_bytes()).unwrap();
    Found {
        start,
        size: Some(size).filter(|&size| size > 0),
        name: u32::try_from(at + 1).unwrap(),
        goes_on,
    }
}

fn names(found: Vec<Found>) -> FileSymbols {
    // Its code is at 0x200 in the file.
    let segment = Segment {
        address: 0x1000,
        offset: 0x200,
        size: 0x1000,
        executable: true,
        writable: false,
    };
    let mut names = Names::new(&[segment]);
    names.add(found, STRINGS, &SECTIONS);
    FileSymbols {
        build_id: String::new(),
        names: Ok(names),
    }
}

/// The name at an address; empty if there is none.
fn at(symbols: &FileSymbols, address: u64) -> String {
    match symbols.name(address - 0x1000 + 0x200) {
        Ok(name) => name,
        Err(reason) => {
            assert_eq!(reason, Unnamed::NoSymbol);
            String::new()
        }
    }
}

/// A function has the bytes of its size, and the bytes between two functions belong to none.
#[test]
fn sizes() {
    let symbols = names(vec![
        found(0x1010, 0x10, "first", true),
        found(0x1030, 0x10, "second", true),
    ]);
    let names = [0x1000, 0x1010, 0x101f, 0x1020, 0x1030, 0x103f, 0x1040].map(|it| at(&symbols, it));
    assert_eq!(names, ["", "first", "first", "", "second", "second", ""]);
    // Bytes in no segment of the file are none of its code.
    assert_eq!(symbols.name(0x100), Err(Unnamed::NoSymbol));
    assert_eq!(symbols.name(u64::MAX), Err(Unnamed::NoSymbol));
}

/// A function without a size extends to the next one, but never beyond its section; in a table of exports only its
/// first byte counts.
#[test]
fn without_sizes() {
    let symbols = names(vec![
        found(0x1010, 0, "first", true),
        found(0x1080, 0, "second", true),
    ]);
    let names_at = [0x1010, 0x107f, 0x1080, 0x10ff, 0x1100].map(|it| at(&symbols, it));
    assert_eq!(names_at, ["first", "first", "second", "second", ""]);
    let symbols = names(vec![found(0x1010, 0, "first", false)]);
    assert_eq!([0x1010, 0x1011].map(|it| at(&symbols, it)), ["first", ""]);
}

/// Of several names for one place the longest code wins, then the plainest name; a name that is no text is ignored.
#[test]
fn aliases() {
    let symbols = names(vec![
        found(0x1010, 0x10, "__alias", true),
        found(0x1010, 0x10, "alias", true),
        found(0x1010, 0x8, "first", true),
    ]);
    assert_eq!(
        [0x1010, 0x101f].map(|it| at(&symbols, it)),
        ["alias", "alias"]
    );
    let text = u32::try_from(STRINGS.len() - 2).unwrap();
    let bad = Found {
        name: text,
        ..found(0x1010, 0x10, "first", true)
    };
    assert_eq!(at(&names(vec![bad]), 0x1010), "");
    let outside = Found {
        name: u32::MAX,
        ..bad
    };
    assert_eq!(at(&names(vec![outside]), 0x1010), "");
}

/// What this process maps of a file, by a part of its path.
fn own(part: &str) -> Mapping {
    let all = mappings::read(Pid(std::process::id())).unwrap();
    all.into_iter().find(|it| it.path.contains(part)).unwrap()
}

fn read_own(mapping: &Mapping) -> FileSymbols {
    read(&Wanted {
        pid: Pid(std::process::id()),
        mapping: mapping.clone(),
    })
}

/// Whether blazesym's symbol is one without a size that blazesym extends beyond its section.
fn is_beyond(symbol: &Sym<'_>, sections: &[Range<u64>]) -> bool {
    let address = symbol.addr + u64::try_from(symbol.offset).unwrap();
    let section = sections.iter().find(|it| it.contains(&symbol.addr));
    symbol.size.is_none() && section.is_some_and(|it| !it.contains(&address))
}

/// Names every place of a mapping, some bytes apart, and compares with blazesym; of several names for a function
/// blazesym may choose another.
fn agrees(mapping: &Mapping) {
    let symbols = read_own(mapping);
    let data = OpenFile::open(Path::new(&*mapping.path)).unwrap().data();
    let elf = Elf::parse(&data).unwrap();
    let sections = elf.section_addresses();
    let mut source = ElfSource::new(&*mapping.path);
    source.debug_syms = false;
    let source = Source::Elf(source);
    let other = Symbolizer::builder()
        .enable_code_info(false)
        .enable_inlined_fns(false)
        .build();
    let size = mapping.addresses.end - mapping.addresses.start;
    let step = usize::try_from((size / 20_000).max(1)).unwrap() | 1;
    let (mut named, mut others) = (0, Vec::new());
    // The first and last pages that are mapped also hold parts of the file beside the code.
    let segments = elf.segments().iter().filter(|it| it.executable);
    let code: Vec<_> = segments.map(|it| it.offset..it.offset + it.size).collect();
    let offsets = (mapping.file_offset..mapping.file_offset + size).step_by(step);
    for offset in offsets.filter(|it| code.iter().any(|code| code.contains(it))) {
        let theirs = match other
            .symbolize_single(&source, Input::FileOffset(offset))
            .unwrap()
        {
            Symbolized::Sym(symbol) if is_beyond(&symbol, &sections) => None,
            Symbolized::Sym(symbol) => Some((symbol.name.into_owned(), symbol.addr)),
            Symbolized::Unknown(_) => None,
        };
        let ours = symbols.name(offset).ok();
        assert_eq!(
            ours.is_some(),
            theirs.is_some(),
            "{offset:#x}: {ours:?}, {theirs:?}"
        );
        if let (Some(ours), Some((theirs, start))) = (ours, theirs) {
            named += 1;
            if ours != theirs {
                others.push((ours, theirs, start));
            }
        }
    }
    assert!(named > 3_000, "{named} of {}", mapping.path);
    let distinct: BTreeSet<_> = others.iter().collect();
    assert!(
        others.len() * 5 < named,
        "{} of {named}: {distinct:?}",
        others.len()
    );
    // If the names differ, they must be of the same place.
    for (ours, _, start) in distinct {
        let offset = elf.file_offset(*start).unwrap();
        assert_eq!(symbols.name(offset).as_ref(), Ok(ours));
    }
}

/// The same function as blazesym for every place, in a program with `.symtab` and in a library that has none.
#[test]
fn another_reader_agrees() {
    let program = std::env::current_exe().unwrap();
    agrees(&own(program.to_str().unwrap()));
    agrees(&own("/libc.so"));
}

/// A library's build id is found.
#[test]
fn build_id() {
    let mapping = own("/libc.so");
    let symbols = read_own(&mapping);
    let theirs = blazesym::helper::read_elf_build_id(&*mapping.path)
        .unwrap()
        .unwrap();
    let ours = symbols.build_id.as_bytes().as_chunks::<2>().0.iter();
    let ours = ours.map(|it| u8::from_str_radix(str::from_utf8(it).unwrap(), 16).unwrap());
    assert_eq!(ours.collect::<Vec<_>>(), theirs.into_owned());
}

/// If a file is cut anywhere, only its names are lost.
#[test]
fn cut_files() {
    let whole = fs::read(std::env::current_exe().unwrap()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut");
    fs::write(&path, &whole).unwrap();
    let mut unnamed = BTreeSet::new();
    for part in (0..32).rev() {
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.set_len(whole.len() as u64 / 32 * part).unwrap();
        let read = read_file(&OpenFile::open(&path).unwrap());
        unnamed.extend(read.and_then(|it| it.names).err());
    }
    assert_eq!(unnamed, BTreeSet::from([Unnamed::Malformed]));
}

/// A file that shrinks after it was opened is unreadable, and one that cannot be opened is, too.
#[test]
fn unreadable_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shrunk");
    fs::copy(std::env::current_exe().unwrap(), &path).unwrap();
    let file = OpenFile::open(&path).unwrap();
    fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(100)
        .unwrap();
    assert_eq!(
        read_file(&file).map(|it| it.build_id),
        Err(Unnamed::Malformed)
    );
    let gone = Mapping {
        path: "/no/such/file".into(),
        ..own("/libc.so")
    };
    let gone = read(&Wanted {
        pid: Pid(0),
        mapping: gone,
    });
    assert_eq!(gone.name(0), Err(Unnamed::Unreadable));
}

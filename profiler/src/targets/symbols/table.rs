//! The table of one file, sorted by address.

use std::ops::Range;

use super::{Unnamed, demangle::demangle};
use crate::targets::elf::Segment;

/// What is kept of one file.
#[derive(Debug)]
pub struct FileSymbols {
    /// GNU build id in lower-case hex; empty if there is none.
    pub build_id: String,
    /// Its functions, or why they are not known.
    pub names: Result<Names, Unnamed>,
}

impl FileSymbols {
    /// The table of a file that cannot be read.
    pub fn unnamed(reason: Unnamed) -> Self {
        Self {
            build_id: String::new(),
            names: Err(reason),
        }
    }

    /// The function whose code is at this offset in the file.
    pub fn name(&self, offset: u64) -> Result<String, Unnamed> {
        let names = self.names.as_ref().map_err(|&reason| reason)?;
        names.at(offset).map(demangle).ok_or(Unnamed::NoSymbol)
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.build_id.len() + self.names.as_ref().map_or(0, Names::bytes)
    }
}

/// The functions of a file.
#[derive(Debug, Default)]
pub struct Names {
    segments: Box<[Segment]>,
    /// From `.symtab`, then from `.dynsym`: the second may name functions that the first does not.
    tables: Vec<Table>,
}

impl Names {
    /// An empty table, with the `PT_LOAD` segments of a file, which map its offsets to addresses.
    pub fn new(segments: &[Segment]) -> Self {
        Self {
            segments: segments.into(),
            tables: Vec::new(),
        }
    }

    /// Adds what one table of symbols holds. `sections` are the addresses of the file's sections; `strings` is the
    /// table that [`Found::name`] points into.
    pub fn add(&mut self, found: Vec<Found>, strings: &[u8], sections: &[Range<u64>]) {
        let is_new = |it: &Found| self.tables.iter().all(|table| table.at(it.start).is_none());
        let found = found.into_iter().filter(is_new).collect();
        let table = Table::new(found, strings, sections);
        if !table.entries.is_empty() {
            self.tables.push(table);
        }
    }

    /// Whether code at an address can be looked up at all.
    pub fn is_code(&self, address: u64) -> bool {
        self.segments.iter().any(|segment| {
            let inside = address.checked_sub(segment.address);
            segment.executable && inside.is_some_and(|inside| inside < segment.size)
        })
    }

    /// The symbol of the code at an offset in the file.
    fn at(&self, offset: u64) -> Option<&str> {
        let address = self.segments.iter().find_map(|segment| {
            let inside = offset.checked_sub(segment.offset)?;
            (inside < segment.size).then(|| segment.address.checked_add(inside))?
        })?;
        self.tables.iter().find_map(|table| table.at(address))
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        let tables = self.tables.iter();
        size_of_val(&*self.segments) + tables.map(Table::bytes).sum::<usize>()
    }
}

/// A function as the file has it.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Its address.
    pub start: u64,
    /// Its bytes; `None` if its symbol has no size, as in the output of assemblers.
    pub size: Option<u64>,
    /// Where its name begins in the table of strings.
    pub name: u32,
    /// Whether its code extends to the next symbol, if it has no size.
    pub goes_on: bool,
}

/// One function: 16 bytes, as a file may have a million.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u64,
    size: u32,
    name: u32,
}

/// Functions by address, no two with the same.
#[derive(Debug)]
struct Table {
    entries: Box<[Entry]>,
    /// Names, each with a NUL behind it.
    names: Box<[u8]>,
}

impl Table {
    fn new(mut found: Vec<Found>, strings: &[u8], sections: &[Range<u64>]) -> Self {
        let name = |it: &Found| string(strings, it.name);
        found.retain(|it| name(it).is_some_and(|name| !name.is_empty()));
        // Of those that begin at the same address the longest is the function, the others are parts or labels. Of names
        // for the same code the plainest wins: `read` before `__read` and `__libc_read`.
        let plainness = |it: &Found| {
            let name = name(it).unwrap_or_default();
            let underscores = name.bytes().take_while(|&byte| byte == b'_').count();
            (underscores, name.len(), name)
        };
        found.sort_unstable_by(|one, other| {
            let by_start = one.start.cmp(&other.start);
            let by_size = by_start.then_with(|| other.size.cmp(&one.size));
            by_size.then_with(|| plainness(one).cmp(&plainness(other)))
        });
        found.dedup_by_key(|it| it.start);
        let mut names = Vec::new();
        let mut entries = Vec::with_capacity(found.len());
        for (index, it) in found.iter().enumerate() {
            let next = found.get(index + 1).map_or(u64::MAX, |next| next.start);
            let (Some(text), Ok(place)) = (name(it), u32::try_from(names.len())) else {
                continue;
            };
            names.extend_from_slice(text.as_bytes());
            names.push(0);
            entries.push(Entry {
                start: it.start,
                size: u32::try_from(size(it, next, sections)).unwrap_or(u32::MAX),
                name: place,
            });
        }
        Self {
            entries: entries.into(),
            names: names.into(),
        }
    }

    fn at(&self, address: u64) -> Option<&str> {
        let after = self.entries.partition_point(|entry| entry.start <= address);
        let entry = self.entries.get(after.checked_sub(1)?)?;
        (address - entry.start < u64::from(entry.size))
            .then(|| string(&self.names, entry.name))
            .flatten()
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.entries) + self.names.len()
    }
}

/// Bytes from the start of a function that belong to it. A function without a size extends to the next one, but never
/// beyond its section: after that come the stubs of calls into other files, which have no symbols.
fn size(it: &Found, next: u64, sections: &[Range<u64>]) -> u64 {
    if let Some(size) = it.size {
        return size;
    }
    if !it.goes_on {
        return 1;
    }
    let section = sections.iter().find(|section| section.contains(&it.start));
    let end = section.map_or(next, |section| section.end.min(next));
    end - it.start
}

/// The string at an offset in a table of strings; `None` if there is none, or if it is no text.
fn string(strings: &[u8], start: u32) -> Option<&str> {
    let rest = strings.get(usize::try_from(start).ok()?..)?;
    let end = memchr::memchr(0, rest)?;
    std::str::from_utf8(rest.get(..end)?).ok()
}

//! What each library adds to the binary: the sizes of its symbols, summed by crate.
//!
//! Generic code of the standard library counts as the standard library's, no matter which crate instantiates it.
//! Inlined code counts as its caller's. Bytes without a symbol (strings, unwind tables, relocations) are a separate
//! line.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use anyhow::Result;
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, SectionFlags, SectionKind, SymbolKind, elf,
    read::elf::ElfFile64,
};

/// Code from C or from assembly.
const NOT_RUST: &str = "C and assembly (musl, ring)";
/// Libraries that are listed separately; the rest is summed up.
const LISTED: usize = 25;

/// Bytes of a library.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size {
    code: u64,
    data: u64,
}

/// The table of a binary that still has its symbols.
pub(super) fn table(bytes: &[u8]) -> Result<String> {
    let elf: ElfFile64<'_> = ElfFile64::parse(bytes)?;
    let mut sizes: BTreeMap<String, Size> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for symbol in elf.symbols() {
        let is_code = symbol.kind() == SymbolKind::Text;
        let is_one = is_code || symbol.kind() == SymbolKind::Data;
        // Several names of one function are one function.
        if !is_one || symbol.size() == 0 || !seen.insert(symbol.address()) {
            continue;
        }
        let size = sizes.entry(library(symbol.name()?)).or_default();
        if is_code {
            size.code += symbol.size();
        } else {
            size.data += symbol.size();
        }
    }
    let loaded: u64 = elf
        .sections()
        .filter(|section| {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
                return false;
            };
            section.kind() != SectionKind::UninitializedData && sh_flags.contains(elf::SHF_ALLOC)
        })
        .map(|section| section.size())
        .sum();
    Ok(render(sizes, loaded))
}

fn render(sizes: BTreeMap<String, Size>, loaded: u64) -> String {
    let mut rows: Vec<(String, Size)> = sizes.into_iter().collect();
    rows.sort_by_key(|(_, size)| std::cmp::Reverse(size.code + size.data));
    let named: u64 = rows.iter().map(|(_, size)| size.code + size.data).sum();
    let rest = rows.split_off(rows.len().min(LISTED));
    let others = rest.iter().fold(Size::default(), |sum, (_, size)| Size {
        code: sum.code + size.code,
        data: sum.data + size.data,
    });
    rows.push((format!("{} others", rest.len()), others));
    let mut table = format!("{:<32} {:>8} {:>8}  KiB\n", "LIBRARY", "CODE", "DATA");
    let mut row = |name: &str, code: u64, data: u64| {
        let kib = |bytes: u64| format!("{}.{}", bytes / 1024, bytes % 1024 * 10 / 1024);
        let _ = writeln!(table, "{name:<32} {:>8} {:>8}", kib(code), kib(data));
    };
    for (name, size) in &rows {
        row(name, size.code, size.data);
    }
    row("named by no symbol", 0, loaded.saturating_sub(named));
    row("loaded in all", 0, loaded);
    table
}

/// The crate of a symbol.
fn library(symbol: &str) -> String {
    let Ok(name) = rustc_demangle::try_demangle(symbol) else {
        return NOT_RUST.to_owned();
    };
    let name = format!("{name:#}");
    // Of `<&mut alloc::vec::Vec<T> as core::fmt::Write>::write_str`, `alloc` is left.
    let path = name.trim_start_matches(['<', '&', '*', '[', '(']);
    let path = ["mut ", "const ", "dyn ", "unsafe ", "extern "]
        .iter()
        .fold(path, |path, word| path.trim_start_matches(word))
        .trim_start_matches(['<', '&', '*', '[', '(']);
    match path.split_once("::") {
        Some((first, _)) if first.chars().all(is_of_name) => match first {
            // They are one source tree with one version.
            "core" | "alloc" | "std" => "std".to_owned(),
            first => first.to_owned(),
        },
        // A method of a type of the language itself, such as `<u64 as …>` or `<[T] as …>`.
        _ => "std".to_owned(),
    }
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

#[cfg(test)]
mod tests {
    use super::{NOT_RUST, library, table};

    /// Symbols of both manglings, trait methods and built-in types are assigned to the right crate.
    #[test]
    fn libraries_of_symbols() {
        for (symbol, wanted) in [
            ("_ZN5tokio7runtime5Spawn3run17h0123456789abcdefE", "tokio"),
            ("_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE", "std"),
            (
                "_ZN58_$LT$aya..maps..MapError$u20$as$u20$core..fmt..Display$GT$3fmt17h0123456789abcdefE",
                "aya",
            ),
            ("_RNvNtCs1234_7mycrate3foo3bar", "mycrate"),
            ("memcpy", NOT_RUST),
        ] {
            assert_eq!(library(symbol), wanted, "{symbol}");
        }
    }

    /// This test program has symbols, and their sum is no more than what is loaded.
    #[test]
    fn a_real_program() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let table = table(&bytes).unwrap();
        let of = |name: &str| {
            let line = table.lines().find(|line| line.starts_with(name)).unwrap();
            let last = line.split_whitespace().next_back().unwrap();
            last.parse::<f64>().unwrap()
        };
        assert!(
            table.lines().any(|line| line.starts_with("std ")),
            "{table}"
        );
        assert!(of("loaded in all") > 100.0, "{table}");
        assert!(of("named by no symbol") < of("loaded in all"), "{table}");
    }
}

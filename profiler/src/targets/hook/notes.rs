//! The span probes of the hook: SDT notes → sites, or why the hook is refused (`python/ABI.md`).

use std::sync::Arc;

use object::{elf::NoteType, read::elf::NoteIterator};

use crate::{
    arch::{Architecture as _, Machine},
    kernel::SpanProbeSites,
    targets::elf::{ENDIAN, Elf, ElfError, Header, Segment},
};

/// `NT_STAPSDT`.
const NOTE_TYPE: NoteType = NoteType(3);
/// Of notes, in bytes.
const ALIGNMENT: u64 = 4;
/// Sites per file: the hook has two.
const MAX_SITES: usize = 64;

/// What a file says about span probes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hook {
    /// It has none.
    Absent,
    /// It is a hook of this ABI.
    Present(Arc<HookFacts>),
    /// It is a hook that is not used.
    Refused(Refused),
}

/// What the file of a hook says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookFacts {
    /// Where its probes are.
    pub sites: SpanProbeSites,
    /// Address in the file of `spanprof_process_block`, which holds the address of the process block.
    pub process_block: u64,
    /// Address in the file of `spanprof_process_attributes`; a release that has no such symbol tells
    /// nothing more.
    pub process_attributes: Option<u64>,
    /// Its segments, to place it in a process.
    pub segments: Vec<Segment>,
}

/// Why a hook is not used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It speaks another version of the ABI.
    #[error("the hook speaks another ABI version: it does not export spanprof_abi_v1")]
    Version,
    /// A probe's arguments are not those of the ABI.
    #[error("the probe {0} has other arguments than ABI version 1 says")]
    Arguments(String),
    /// A probe is on an instruction that the kernel would have to single-step.
    #[error("the probe {0} is not on a nop that the kernel emulates")]
    SlowSite(String),
    /// A probe is not in the file, one of the two is missing, or a symbol is.
    #[error("the hook is incomplete: a probe or the symbol spanprof_process_block is missing")]
    Incomplete,
    /// The file is damaged.
    #[error(transparent)]
    Elf(#[from] ElfError),
}

/// Looks for the hook's probes in a file.
pub fn find(elf: &Elf<'_>) -> Hook {
    let Some((_, notes)) = elf.section(".note.stapsdt") else {
        return Hook::Absent;
    };
    let notes = ours(notes);
    if notes.is_empty() {
        return Hook::Absent;
    }
    match facts(elf, &notes) {
        Ok(facts) => Hook::Present(Arc::new(facts)),
        Err(reason) => Hook::Refused(reason),
    }
}

/// One note of our provider.
struct Note<'a> {
    address: u64,
    base: u64,
    name: &'a [u8],
    arguments: &'a [u8],
}

fn facts(elf: &Elf<'_>, notes: &[Note<'_>]) -> Result<HookFacts, Refused> {
    let names = [
        "spanprof_abi_v1",
        "spanprof_process_block",
        "spanprof_process_attributes",
    ];
    let [Some(_), process_block, attributes] = elf.dynamic_symbols(names)? else {
        return Err(Refused::Version);
    };
    let process_block = process_block.ok_or(Refused::Incomplete)?;
    // A linker that moves sections leaves the notes as they were; the difference shows in the base.
    let base = elf.section(".stapsdt.base").map(|(address, _)| address);
    let mut sites = SpanProbeSites::default();
    for note in notes {
        let name = || String::from_utf8_lossy(note.name).into_owned();
        let (expected, list) = match note.name {
            b"span_start" => (Machine::START_ARGUMENTS, &mut sites.span_start),
            b"span_end" => (Machine::END_ARGUMENTS, &mut sites.span_end),
            _ => continue,
        };
        if note.arguments != expected {
            return Err(Refused::Arguments(name()));
        }
        let moved = base.map_or(0, |base| base.wrapping_sub(note.base));
        let address = note.address.wrapping_add(moved);
        sites.on_long_nops |=
            is_on_long_nop(elf, address).ok_or_else(|| Refused::SlowSite(name()))?;
        list.push(elf.file_offset(address).ok_or(Refused::Incomplete)?);
    }
    if sites.span_start.is_empty() || sites.span_end.is_empty() {
        return Err(Refused::Incomplete);
    }
    Ok(HookFacts {
        sites,
        process_block: process_block.address,
        process_attributes: attributes.map(|symbol| symbol.address),
        segments: elf.segments().to_vec(),
    })
}

/// Whether a probe site is a long no-op, and not the short one; `None` if it is neither: a probe there would be slow.
fn is_on_long_nop(elf: &Elf<'_>, address: u64) -> Option<bool> {
    let is_on = |nop: &[u8]| elf.bytes(address, nop.len() as u64) == Some(nop);
    if Machine::LONG_NOP.is_some_and(is_on) {
        return Some(true);
    }
    is_on(Machine::NOP).then_some(false)
}

/// The notes of provider `spanprof`.
fn ours(section: &[u8]) -> Vec<Note<'_>> {
    let Ok(notes) = NoteIterator::<Header>::new(ENDIAN, ALIGNMENT, section) else {
        return Vec::new();
    };
    let probes = notes
        .map_while(Result::ok)
        .filter(|note| note.n_type(ENDIAN) == NOTE_TYPE && note.name() == b"stapsdt");
    probes
        .filter_map(|note| parse_note(note.desc()))
        .take(MAX_SITES)
        .collect()
}

/// Address, base and semaphore, then provider, name and arguments, each with its NUL.
fn parse_note(description: &[u8]) -> Option<Note<'_>> {
    let (&address, rest) = description.split_first_chunk::<8>()?;
    let (&base, rest) = rest.split_first_chunk::<8>()?;
    let (_semaphore, rest) = rest.split_first_chunk::<8>()?;
    let mut strings = rest.split(|&byte| byte == 0);
    if strings.next()? != b"spanprof" {
        return None;
    }
    Some(Note {
        address: u64::from_le_bytes(address),
        base: u64::from_le_bytes(base),
        name: strings.next()?,
        arguments: strings.next()?,
    })
}

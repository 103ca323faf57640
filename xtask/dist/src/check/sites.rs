//! Checks the probe sites of a built module against `python/ABI.md`: each is one byte `90`, a separate instruction in
//! a function that keeps nothing below the stack pointer.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use gimli::{BaseAddresses, EhFrame, LittleEndian, UnwindSection as _};
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register};
use object::{
    Endianness, Object as _, ObjectSection as _, ObjectSymbol,
    elf::{FileHeader64, NoteType},
    read::elf::{ElfFile, ElfFile64, FileHeader as _, SectionHeader as _},
};

/// The marks of version 1, in `.dynsym`.
const EXPORTED: [&str; 3] = [
    "spanprof_abi_v1",
    "spanprof_process_block",
    "spanprof_process_attributes",
];
/// The argument strings of the notes, by probe.
const ARGUMENTS: [(&str, &str); 2] = [
    ("span_end", "8@%rdi 8@%rsi 8@%rdx"),
    (
        "span_start",
        "8@%rdi 8@%rsi 8@%rdx 8@%rcx 8@%r8 8@%r9 8@%r10 8@%r12 8@%r13",
    ),
];
type Elf<'a> = ElfFile<'a, FileHeader64<Endianness>>;

/// Fails if a site is wrong; returns a description of each site, for people.
pub(super) fn check(bytes: &[u8]) -> Result<Vec<String>> {
    let elf: Elf<'_> = ElfFile64::parse(bytes)?;
    let exported: Vec<_> = elf
        .dynamic_symbols()
        .filter(ObjectSymbol::is_definition)
        .collect();
    for name in EXPORTED {
        ensure!(
            exported.iter().any(|symbol| symbol.name() == Ok(name)),
            "the module does not export {name}"
        );
    }
    let probes = notes(&elf)?;
    let found: Vec<_> = probes
        .iter()
        .map(|(name, note)| (name.as_str(), note.arguments.as_str()))
        .collect();
    ensure!(found == ARGUMENTS, "the notes are {found:?}");
    probes
        .into_iter()
        .map(|(name, note)| site(&elf, &name, note.address))
        .collect()
}

/// The content of a probe's note.
#[derive(Debug)]
struct Note {
    address: u64,
    arguments: String,
}

/// The notes of our provider, by probe (<https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation>).
fn notes(elf: &Elf<'_>) -> Result<BTreeMap<String, Note>> {
    const KIND: NoteType = NoteType(3);
    let base = elf
        .section_by_name(".stapsdt.base")
        .context("the module has no .stapsdt.base")?
        .address();
    let endian = elf.endian();
    let sections = elf.elf_header().sections(endian, elf.data())?;
    let mut probes = BTreeMap::new();
    for section in sections.iter() {
        let Some(mut notes) = section.notes(endian, elf.data())? else {
            continue;
        };
        while let Some(note) = notes.next()? {
            if note.name() != b"stapsdt" || note.n_type(endian) != KIND {
                continue;
            }
            let (numbers, text) = note
                .desc()
                .split_at_checked(24)
                .context("a note is short")?;
            let number = |at: usize| {
                let bytes = numbers.get(at..at + 8)?;
                Some(u64::from_le_bytes(bytes.try_into().ok()?))
            };
            ensure!(
                number(8) == Some(base),
                "a note has another base than the module: its address cannot be trusted"
            );
            ensure!(number(16) == Some(0), "a probe has a semaphore");
            let mut words = text.split(|byte| *byte == 0).map(String::from_utf8_lossy);
            if words.next().as_deref() != Some("spanprof") {
                continue;
            }
            let name = words.next().context("a probe has no name")?.into_owned();
            let arguments = words
                .next()
                .context("a probe has no arguments")?
                .into_owned();
            let address = number(0).context("a note is short")?;
            if probes
                .insert(name.clone(), Note { address, arguments })
                .is_some()
            {
                bail!("the probe {name} has two sites");
            }
        }
    }
    Ok(probes)
}

/// Decodes the function that a site is in, from its first instruction to its last.
fn site(elf: &Elf<'_>, name: &str, address: u64) -> Result<String> {
    let (begin, size) = function_around(elf, address)
        .with_context(|| format!("the function with the site of {name}"))?;
    let section = elf
        .sections()
        .find(|section| (section.address()..section.address() + section.size()).contains(&begin))
        .with_context(|| format!("the site of {name} is in no section"))?;
    let code = section
        .data_range(begin, size)?
        .with_context(|| format!("the site of {name} has no code"))?;
    let decoder = Decoder::with_ip(64, code, begin, DecoderOptions::NONE);
    let instructions: Vec<Instruction> = decoder.into_iter().collect();
    let at = instructions
        .iter()
        .position(|instruction| instruction.ip() == address)
        .with_context(|| format!("the site of {name} is inside of an instruction"))?;
    let nop = instructions.get(at).context("no instruction")?;
    ensure!(
        nop.code() == Code::Nopd && nop.len() == 1,
        "the site of {name} is {:?}",
        nop.code()
    );
    let next = instructions
        .get(at + 1)
        .context("no instruction behind a site")?;
    ensure!(
        !(next.mnemonic() == Mnemonic::Nop && matches!(next.len(), 5 | 10)),
        "the site of {name} is followed by {:?}, which libbpf takes for it",
        next.code()
    );
    for instruction in &instructions {
        keeps_nothing_below(instruction)
            .with_context(|| format!("the function with the site of {name}"))?;
    }
    Ok(format!(
        "{name} at {address:#x}: 90, a nop among {} instructions",
        instructions.len()
    ))
}

/// The address of a function and its bytes, from the unwind table, because the module is stripped.
fn function_around(elf: &Elf<'_>, address: u64) -> Result<(u64, u64)> {
    let section = elf
        .section_by_name(".eh_frame")
        .context("the module has no .eh_frame")?;
    let frames = EhFrame::new(section.data()?, LittleEndian);
    let bases = BaseAddresses::default().set_eh_frame(section.address());
    let function = frames.fde_for_address(&bases, address, EhFrame::cie_from_offset)?;
    Ok((function.initial_address(), function.len()))
}

/// Linux 6.18 turns a site into a call, which pushes below the stack pointer.
fn keeps_nothing_below(instruction: &Instruction) -> Result<()> {
    let in_memory = (0..instruction.op_count()).any(|at| instruction.op_kind(at) == OpKind::Memory);
    let displacement = instruction.memory_displacement64().cast_signed();
    let is_address_alone = instruction.mnemonic() == Mnemonic::Lea;
    if in_memory
        && !is_address_alone
        && instruction.memory_base() == Register::RSP
        && instruction.memory_index() == Register::None
    {
        ensure!(
            displacement >= 0,
            "{:?} at {:#x} reads or writes below the stack pointer",
            instruction.code(),
            instruction.ip()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::check;

    const SITE: &str = "990: .byte 0x0f, 0x1f, 0x44, 0x00, 0x00";
    const GOOD: &str = "990: .byte 0x90";

    /// The verdict on the hook of `older_hook.c` with another site, or with other code behind its sites.
    fn judged(site: &str, behind: &str) -> Result<usize, String> {
        let folder = tempfile::tempdir().unwrap();
        let (source, library) = (folder.path().join("hook.c"), folder.path().join("hook.so"));
        let text = include_str!("../../../../tests/programs/older_hook.c");
        let text = text
            .replace(SITE, site)
            .replace("\"pop %r13", &format!("\"{behind}pop %r13"));
        let more = "\nEXPORTED char spanprof_process_attributes[2048];\n";
        fs::write(&source, text + more).unwrap();
        let mut cc = Command::new("cc");
        cc.args(["-O1", "-shared", "-fPIC", "-o"])
            .args([&library, &source]);
        assert!(cc.status().unwrap().success());
        check(&fs::read(&library).unwrap())
            .map(|sites| sites.len())
            .map_err(|error| format!("{error:#}"))
    }

    /// Today's sites pass; each kind of error is reported.
    #[test]
    fn sites_are_judged() {
        assert_eq!(judged(GOOD, ""), Ok(2));
        for (site, behind, wanted) in [
            (SITE, "", "is Nop_rm32"),
            (
                ".byte 0xb0; 990: .byte 0x90",
                "",
                "inside of an instruction",
            ),
            (
                "990: .byte 0x90, 0x0f, 0x1f, 0x44, 0x00, 0x00",
                "",
                "libbpf takes for it",
            ),
            (GOOD, "mov %rax, -8(%rsp)\\n", "below the stack pointer"),
        ] {
            let error = judged(site, behind).unwrap_err();
            assert!(error.contains(wanted), "{error}");
        }
    }
}

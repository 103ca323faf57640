//! Offsets of kernel structures, from the running kernel's own BTF.
//!
//! A reader of the few kinds we ask for: the format is
//! <https://docs.kernel.org/bpf/btf.html>, and the one general crate for it is under the LGPL.

use std::fs;

/// The kernel's BTF.
pub(super) const PATH: &str = "/sys/kernel/btf/vmlinux";

/// Kinds of types that matter here.
mod kind {
    pub(super) const INT: u32 = 1;
    pub(super) const ARRAY: u32 = 3;
    pub(super) const STRUCT: u32 = 4;
    pub(super) const UNION: u32 = 5;
    pub(super) const ENUM: u32 = 6;
    pub(super) const TYPEDEF: u32 = 8;
    pub(super) const VOLATILE: u32 = 9;
    pub(super) const CONST: u32 = 10;
    pub(super) const FUNC_PROTO: u32 = 13;
    pub(super) const VAR: u32 = 14;
    pub(super) const DATASEC: u32 = 15;
    pub(super) const DECL_TAG: u32 = 17;
    pub(super) const TYPE_TAG: u32 = 18;
    pub(super) const ENUM64: u32 = 19;
}

const MAGIC: u32 = 0xeb9f;
/// Modifiers in a row, or anonymous structures in one another, that are followed.
const MAX_DEPTH: u32 = 16;

/// Why an offset is not known.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The kernel has no BTF, or it cannot be read.
    #[error(
        "cannot read the kernel's type information at {PATH}: {0}; \
         spanprof needs a kernel built with CONFIG_DEBUG_INFO_BTF=y (all major distributions since 2021)"
    )]
    Unreadable(std::io::Error),
    /// What is there is not BTF.
    #[error("the kernel's type information at {PATH} is malformed")]
    Malformed,
    /// A structure or a member is not there.
    #[error("the kernel's type information has no `{0}`")]
    Missing(String),
}

/// The running kernel's types.
pub(super) struct KernelTypes {
    data: Vec<u8>,
    /// Where each type's record starts, by type id; id 0 is `void`.
    types: Vec<usize>,
    strings: usize,
}

/// One type's record.
#[derive(Clone, Copy)]
struct Record {
    at: usize,
    name: u32,
    info: u32,
    size_or_type: u32,
}

impl Record {
    fn kind(self) -> u32 {
        (self.info >> 24) & 0x1f
    }

    /// Number of members, parameters or values.
    fn length(self) -> usize {
        (self.info & 0xffff) as usize
    }

    /// Whether member offsets share their word with bit field sizes.
    fn has_bit_fields(self) -> bool {
        self.info >> 31 == 1
    }

    /// Bytes behind the fixed part.
    fn tail(self) -> usize {
        match self.kind() {
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => self.length() * 12,
            kind::ENUM | kind::FUNC_PROTO => self.length() * 8,
            _ => 0,
        }
    }
}

impl KernelTypes {
    /// Reads the running kernel's BTF.
    pub(super) fn read() -> Result<Self, BtfError> {
        Self::parse(fs::read(PATH).map_err(BtfError::Unreadable)?).ok_or(BtfError::Malformed)
    }

    fn parse(data: Vec<u8>) -> Option<Self> {
        if word(&data, 0)? & 0xffff != MAGIC {
            return None;
        }
        let header = word(&data, 4)? as usize;
        let start = header + word(&data, 8)? as usize;
        let end = start + word(&data, 12)? as usize;
        let strings = header + word(&data, 16)? as usize;
        let mut parsed = Self {
            data,
            types: vec![usize::MAX],
            strings,
        };
        let mut at = start;
        while at < end {
            parsed.types.push(at);
            at += 12 + parsed.record_at(at)?.tail();
        }
        Some(parsed)
    }

    /// Offset in bytes of a member, given as a path of names from a structure, such as
    /// `["task_struct", "signal"]`. Anonymous structures and unions are searched.
    pub(super) fn offset(&self, path: &[&str]) -> Result<u32, BtfError> {
        self.find(path)
            .ok_or_else(|| BtfError::Missing(path.join(".")))
    }

    /// Bytes of a structure.
    pub(super) fn size(&self, name: &str) -> Result<u32, BtfError> {
        let found = self.structure(name);
        found
            .map(|record| record.size_or_type)
            .ok_or_else(|| BtfError::Missing(name.to_owned()))
    }

    fn structure(&self, name: &str) -> Option<Record> {
        (1..self.types.len())
            .filter_map(|id| self.record(id))
            .find(|record| record.kind() == kind::STRUCT && self.is_named(record.name, name))
    }

    fn find(&self, path: &[&str]) -> Option<u32> {
        let (name, members) = path.split_first()?;
        let mut current = self.structure(name)?;
        let mut bits = 0;
        for member in members {
            let (offset, next) = self.member(current, member, 0)?;
            bits += offset;
            current = next;
        }
        Some(bits / 8)
    }

    /// Offset in bits and type of a member.
    fn member(&self, container: Record, name: &str, depth: u32) -> Option<(u32, Record)> {
        if !matches!(container.kind(), kind::STRUCT | kind::UNION) || depth > MAX_DEPTH {
            return None;
        }
        for index in 0..container.length() {
            let at = container.at + 12 + index * 12;
            let (found, id, offset) = (
                word(&self.data, at)?,
                word(&self.data, at + 4)?,
                word(&self.data, at + 8)?,
            );
            let offset = if container.has_bit_fields() {
                offset & 0x00ff_ffff
            } else {
                offset
            };
            if self.is_named(found, name) {
                return Some((offset, self.resolved(id)?));
            }
            if self.is_named(found, "")
                && let Some((inner, record)) = self
                    .resolved(id)
                    .and_then(|inner| self.member(inner, name, depth + 1))
            {
                return Some((offset + inner, record));
            }
        }
        None
    }

    /// A type with its typedefs and qualifiers taken off.
    fn resolved(&self, id: u32) -> Option<Record> {
        let mut record = self.record(id as usize)?;
        for _ in 0..MAX_DEPTH {
            match record.kind() {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::TYPE_TAG => {
                    record = self.record(record.size_or_type as usize)?;
                }
                _ => return Some(record),
            }
        }
        None
    }

    fn record(&self, id: usize) -> Option<Record> {
        self.record_at(*self.types.get(id)?)
    }

    fn record_at(&self, at: usize) -> Option<Record> {
        Some(Record {
            at,
            name: word(&self.data, at)?,
            info: word(&self.data, at.checked_add(4)?)?,
            size_or_type: word(&self.data, at.checked_add(8)?)?,
        })
    }

    fn is_named(&self, offset: u32, name: &str) -> bool {
        let start = self.strings + offset as usize;
        let end = start + name.len();
        self.data.get(start..end) == Some(name.as_bytes()) && self.data.get(end) == Some(&0)
    }
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::KernelTypes;
    use crate::arch::{Architecture as _, Machine};

    /// The running kernel's BTF has what the programs need, at offsets that make sense.
    #[test]
    fn offsets_of_the_running_kernel() {
        let Ok(types) = KernelTypes::read() else {
            return launcher::skip("this kernel has no BTF");
        };
        let tgid = types.offset(&["task_struct", "tgid"]).unwrap();
        let pid = types.offset(&["task_struct", "pid"]).unwrap();
        assert_eq!(tgid, pid + 4, "tgid follows pid since 2.6");
        assert!(types.offset(Machine::THREAD_POINTER).unwrap() > tgid);
        let registers = types.size("pt_regs").unwrap();
        for register in [Machine::INSTRUCTION, Machine::STACK, Machine::FRAME] {
            assert!(types.offset(register).unwrap() + 8 <= registers);
        }
        assert!(types.size("no_such_structure").is_err());
        assert!(types.offset(&["task_struct", "no_such_member"]).is_err());
    }

    /// Garbage is refused, not followed.
    #[test]
    fn malformed_data_is_refused() {
        assert!(KernelTypes::parse(vec![]).is_none());
        assert!(KernelTypes::parse(vec![0x9f, 0xeb, 1, 0, 24, 0, 0, 0]).is_none());
    }
}

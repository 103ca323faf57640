//! Line tables: from the offset of an instruction to its line. Pure.

use profiler_common::python::line_table;

/// Why an instruction has no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LineError {
    /// The compiler made the instruction itself: it belongs to no line.
    #[error("the instruction belongs to no line")]
    NoLine,
    /// The table ends before the instruction: it was cut, or is another code object's.
    #[error("the table ends before the instruction")]
    PastEnd,
    /// The table cannot be read.
    #[error("the table is malformed")]
    Malformed,
    /// The format is unknown.
    #[error("unknown format {0}")]
    UnknownFormat(u8),
}

/// Bytes in a code unit, the unit of line tables from 3.11 on (`_Py_CODEUNIT`).
const CODE_UNIT: i64 = 2;

/// A code object's line table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct LineTable {
    /// One of [`line_table`].
    pub(super) format: u8,
    /// The table.
    pub(super) bytes: Box<[u8]>,
    /// Whether it is complete.
    pub(super) is_whole: bool,
}

/// The line of the instruction at an offset in bytes; before the first one it is `first_line`.
pub(super) fn line(table: &LineTable, first_line: i32, instruction: i32) -> Result<u32, LineError> {
    if instruction < 0 {
        return number(i64::from(first_line));
    }
    match table.format {
        line_table::LNOTAB => lnotab(table, first_line, instruction),
        line_table::PEP626 => pep626(&table.bytes, first_line, instruction),
        line_table::LOCATIONS => locations(&table.bytes, first_line, instruction),
        other => Err(LineError::UnknownFormat(other)),
    }
}

fn number(line: i64) -> Result<u32, LineError> {
    u32::try_from(line).map_err(|_out_of_range| LineError::Malformed)
}

/// CPython 3.10: pairs of (bytes of code, signed difference of the line); a difference of -128 says that these bytes
/// have no line, and leaves the current line unchanged (`Objects/lnotab_notes.txt`).
fn pep626(table: &[u8], first_line: i32, instruction: i32) -> Result<u32, LineError> {
    const NO_LINE: i8 = -128;
    let mut line = i64::from(first_line);
    let mut end = 0_i64;
    for &[length, difference] in table.as_chunks::<2>().0 {
        let difference = difference.cast_signed();
        if difference != NO_LINE {
            line += i64::from(difference);
        }
        end += i64::from(length);
        if i64::from(instruction) < end {
            return if difference == NO_LINE {
                Err(LineError::NoLine)
            } else {
                number(line)
            };
        }
    }
    Err(LineError::PastEnd)
}

/// CPython before 3.10: pairs of (bytes of code, signed difference of the line); the last line extends to the end
/// (`Objects/lnotab_notes.txt`).
fn lnotab(table: &LineTable, first_line: i32, instruction: i32) -> Result<u32, LineError> {
    let mut line = i64::from(first_line);
    let mut start = 0_i64;
    for &[length, difference] in table.bytes.as_chunks::<2>().0 {
        start += i64::from(length);
        if start > i64::from(instruction) {
            return number(line);
        }
        line += i64::from(difference.cast_signed());
    }
    if table.is_whole {
        number(line)
    } else {
        Err(LineError::PastEnd)
    }
}

/// CPython 3.11 and later: entries of one start byte (1, code in 4 bits, code units less one in 3) and the bytes that
/// the code implies (`InternalDocs/code_objects.md`, before 3.14 `Objects/locations.md`).
fn locations(table: &[u8], first_line: i32, instruction: i32) -> Result<u32, LineError> {
    let mut bytes = Bytes { bytes: table };
    let mut line = i64::from(first_line);
    let mut end = 0_i64;
    while let Some(start) = bytes.next() {
        if start & 0x80 == 0 {
            return Err(LineError::Malformed);
        }
        let has_line = match (start >> 3) & 0x0f {
            // Short forms: the line as before, and one byte of columns.
            0..=9 => bytes.skip(1)?,
            // The line zero, one or two further on, and two bytes of columns.
            code @ 10..=12 => {
                line += i64::from(code) - 10;
                bytes.skip(2)?
            }
            13 => {
                line += bytes.signed()?;
                true
            }
            14 => {
                line += bytes.signed()?;
                // The number of lines to the end line, the column, the end column.
                for _ in 0..3 {
                    bytes.unsigned()?;
                }
                true
            }
            _ => false,
        };
        end += (i64::from(start & 7) + 1) * CODE_UNIT;
        if i64::from(instruction) < end {
            return if has_line {
                number(line)
            } else {
                Err(LineError::NoLine)
            };
        }
    }
    Err(LineError::PastEnd)
}

/// The bytes of a table not yet read.
struct Bytes<'table> {
    bytes: &'table [u8],
}

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(first)
    }

    /// Skips bytes that are not needed; true, for the entries that have a line.
    fn skip(&mut self, count: usize) -> Result<bool, LineError> {
        self.bytes = self.bytes.get(count..).ok_or(LineError::PastEnd)?;
        Ok(true)
    }

    /// Six bits a byte, lowest first; bit 6 says that another follows.
    fn unsigned(&mut self) -> Result<i64, LineError> {
        let mut value = 0;
        for shift in (0..36).step_by(6) {
            let byte = self.next().ok_or(LineError::PastEnd)?;
            value |= i64::from(byte & 0x3f) << shift;
            if byte & 0x40 == 0 {
                return Ok(value);
            }
        }
        Err(LineError::Malformed)
    }

    /// The sign is the lowest bit.
    fn signed(&mut self) -> Result<i64, LineError> {
        let value = self.unsigned()?;
        Ok(if value & 1 == 1 {
            -(value >> 1)
        } else {
            value >> 1
        })
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use profiler_common::python::line_table::{LNOTAB, LOCATIONS, PEP626};
    use serde_json::Value;

    use super::{LineError, LineTable};

    fn line(format: u8, bytes: &[u8], first_line: i32, instruction: i32) -> Result<u32, LineError> {
        let table = LineTable {
            format,
            bytes: bytes.into(),
            is_whole: true,
        };
        super::line(&table, first_line, instruction)
    }

    /// Prints, for a few hundred code objects of the standard library, the table and what the interpreter itself says:
    /// `[firstlineno, table as hex, [[start, end, line or null]]]`.
    const SCRIPT: &str = "
import argparse, ast, asyncio.base_events, collections, dis, inspect, json, sys, types
def all_of(code):
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from all_of(constant)
modules = [argparse, ast, asyncio.base_events, collections, inspect]
codes = []
for module in modules:
    with open(module.__file__, encoding='utf-8') as source:
        codes += all_of(compile(source.read(), module.__file__, 'exec'))
def lines(code):
    if hasattr(code, 'co_lines'):
        return list(code.co_lines())
    starts = list(dis.findlinestarts(code)) + [(len(code.co_code), None)]
    return [(start, after[0], line) for (start, line), after in zip(starts, starts[1:])]
def table(code):
    return code.co_linetable if hasattr(code, 'co_linetable') else code.co_lnotab
print(json.dumps([sys.version_info[1], [
    [code.co_firstlineno, table(code).hex(), lines(code)] for code in codes
]]))
";

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    /// Every instruction of hundreds of functions has the line that the interpreter says.
    #[test]
    fn lines_are_those_of_the_interpreter() {
        let interpreters = launcher::interpreter::supported();
        if interpreters.is_empty() {
            launcher::skip("no CPython 3.8 to 3.15 here");
        }
        for interpreter in interpreters {
            let output = Command::new(&interpreter)
                .args(["-c", SCRIPT])
                .output()
                .unwrap();
            let parsed: Value = serde_json::from_slice(&output.stdout).unwrap();
            let format = match parsed[0].as_u64().unwrap() {
                ..10 => LNOTAB,
                10 => PEP626,
                _ => LOCATIONS,
            };
            let mut checked = 0;
            for code in parsed[1].as_array().unwrap() {
                checked += check_code(code, format);
            }
            assert!(
                checked > 20_000,
                "{interpreter:?}: only {checked} instructions"
            );
        }
    }

    fn check_code(code: &Value, format: u8) -> usize {
        let first_line = i32::try_from(code[0].as_i64().unwrap()).unwrap();
        let table = unhex(code[1].as_str().unwrap());
        let mut checked = 0;
        for range in code[2].as_array().unwrap() {
            let (start, end) = (range[0].as_i64().unwrap(), range[1].as_i64().unwrap());
            let expected = range[2].as_u64().map(|line| u32::try_from(line).unwrap());
            for offset in (start..end).step_by(2) {
                let found = line(format, &table, first_line, i32::try_from(offset).unwrap());
                assert_eq!(found, expected.ok_or(LineError::NoLine), "offset {offset}");
                checked += 1;
            }
        }
        checked
    }

    /// Before the first instruction the line is the function's first.
    #[test]
    fn before_the_first_instruction() {
        assert_eq!(line(LOCATIONS, &[], 7, -2), Ok(7));
    }

    /// The last line of an old table extends to the end, unless the end of the table is missing.
    #[test]
    fn old_tables_end_with_their_last_line() {
        assert_eq!(line(LNOTAB, &[], 7, 40), Ok(7));
        assert_eq!(line(LNOTAB, &[4, 1, 4, 0xff], 7, 40), Ok(7));
        let cut = LineTable {
            format: LNOTAB,
            bytes: [4, 1].into(),
            is_whole: false,
        };
        assert_eq!(super::line(&cut, 7, 2), Ok(7));
        assert_eq!(super::line(&cut, 7, 40), Err(LineError::PastEnd));
    }

    /// A table that cannot be read is refused by name, and a cut table has no lines for the part it lacks.
    #[test]
    fn refusals_have_names() {
        assert_eq!(line(LOCATIONS, &[], 1, 0), Err(LineError::PastEnd));
        assert_eq!(line(LOCATIONS, &[0x05], 1, 0), Err(LineError::Malformed));
        assert_eq!(
            line(LOCATIONS, &[0xe8, 0xff], 1, 0),
            Err(LineError::PastEnd)
        );
        assert_eq!(
            line(LOCATIONS, &[0xe8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 1, 0),
            Err(LineError::Malformed)
        );
        assert_eq!(line(PEP626, &[4, 1, 4], 1, 4), Err(LineError::PastEnd));
        assert_eq!(line(9, &[], 1, 0), Err(LineError::UnknownFormat(9)));
    }
}

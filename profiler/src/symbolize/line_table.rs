//! Line tables: from the offset of an instruction to its line. Pure.

#[cfg(test)]
mod tests;

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
        let further = bytes.location((start >> 3) & 0x0f)?;
        line += further.unwrap_or(0);
        end += (i64::from(start & 7) + 1) * CODE_UNIT;
        if i64::from(instruction) < end {
            return match further {
                Some(_) => number(line),
                None => Err(LineError::NoLine),
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

    /// Reads what follows an entry's code: how much further on its line is, or `None` if it has no line.
    fn location(&mut self, code: u8) -> Result<Option<i64>, LineError> {
        Ok(Some(match code {
            // Short forms: the line as before, and one byte of columns.
            0..=9 => {
                self.skip(1)?;
                0
            }
            // The line zero, one or two further on, and two bytes of columns.
            10..=12 => {
                self.skip(2)?;
                i64::from(code) - 10
            }
            13 => self.signed()?,
            14 => {
                let further = self.signed()?;
                // The number of lines to the end line, the column, the end column.
                for _ in 0..3 {
                    self.unsigned()?;
                }
                further
            }
            _ => return Ok(None),
        }))
    }

    /// Skips bytes that are not needed.
    fn skip(&mut self, count: usize) -> Result<(), LineError> {
        self.bytes = self.bytes.get(count..).ok_or(LineError::PastEnd)?;
        Ok(())
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

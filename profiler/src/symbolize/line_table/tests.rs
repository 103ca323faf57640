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

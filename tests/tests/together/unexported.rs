//! Programs that embed CPython and do not export `_PyRuntime`: it is found by its section or by the table of symbols.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use profiler::targets::elf::{Elf, OpenFile};
use tests::{
    embedding::{Host, Linked},
    matrix::{self, Cell},
    python::program,
};

use crate::matrix::{doctor, spans_are_right};

macro_rules! cells {
    ($($test:ident: $check:ident($name:literal)),* $(,)?) => {
        $(#[test]
        fn $test() {
            if let Some(cell) = matrix::cell($name) {
                $check(&cell);
            }
        })*
    };
}

cells!(
    public_3_11: exports_the_public_functions("3.11-debian"),
    public_3_13: exports_the_public_functions("3.13-debian"),
    public_3_14: exports_the_public_functions("3.14-debian"),
    public_3_15: exports_the_public_functions("3.15-debian"),
    nothing_3_14: exports_nothing("3.14-debian"),
    nothing_3_15: exports_nothing("3.15-debian"),
);

/// Where `_PyRuntime` is among the names of what a file exports.
fn place_of_the_name(path: &Path, bytes: &[u8]) -> usize {
    let data = OpenFile::open(path).unwrap().data();
    let tables = Elf::parse(&data).unwrap().symbol_sections();
    let exported = tables.iter().find(|it| it.is_dynamic).unwrap();
    let (start, size) = exported.strings;
    let start = usize::try_from(start).unwrap();
    let names = &bytes[start..start + usize::try_from(size).unwrap()];
    start + 1 + memchr::memmem::find(names, b"\0_PyRuntime\0").unwrap()
}

/// A usual interpreter, whose `_PyRuntime` is exported by another name; it has no other symbols.
fn exports_the_public_functions(cell: &Cell) {
    let (root, python) = (cell.root.as_ref().unwrap(), cell.python.as_ref().unwrap());
    let folder = tempfile::tempdir_in(root.join("tmp")).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = root.join(python.strip_prefix("/").unwrap());
    let mut bytes = fs::read(&path).unwrap();
    let place = place_of_the_name(&path, &bytes);
    bytes[place..place + 10].copy_from_slice(b"_NotPublic");
    let program = folder.path().join("application");
    fs::write(&program, &bytes).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let inside = Path::new("/").join(program.strip_prefix(root).unwrap());
    let environment = [("WITHOUT_PACKAGE", "1"), ("PYTHONHOME", "/usr")];
    spans_are_right(&cell.with_python(&inside), &environment, &[], &[]);
}

/// A program that the interpreter is linked into: its symbols tell as long as it has them, and if not, that is said.
fn exports_nothing(cell: &Cell) {
    for linked in [Linked::Static, Linked::Stripped] {
        let host = match Host::of(cell, linked, &[program("copied.c")], &["-fno-pie"]) {
            Ok(host) => host,
            Err(why) => {
                return tests::skip(&format!("CPython {} cannot be embedded: {why}", cell.name));
            }
        };
        let environment = [("WITHOUT_PACKAGE", "1"), ("PYTHONHOME", host.home())];
        if linked == Linked::Static {
            spans_are_right(host.cell(), &environment, &[], &[]);
        } else {
            let workload = host.cell().start("two_spans.py", &environment);
            let process = doctor(&workload.pid());
            let reason = process["reason"].as_str().unwrap();
            assert!(
                reason.contains("version of this CPython cannot be told"),
                "{process}"
            );
        }
    }
}

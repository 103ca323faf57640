//! Programs that are linked against a shared libpython and have a copy of one of its objects in themselves, as uWSGI
//! has: whichever object it is, stacks and spans are those of a usual interpreter.

use tests::{
    embedding::{Host, Linked},
    matrix,
    python::program,
};

use crate::matrix::functions_are_right;

/// What the program names, as `copied.c` has it: first nothing.
const NAMED: [&str; 6] = ["NOTHING", "NONE", "TRUE", "CODE", "VARIABLE", "RUNTIME"];

macro_rules! cells {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            every_object($name);
        })*
    };
}

cells!(
    of_3_8: "3.8-host",
    of_3_9: "3.9-host",
    of_3_10: "3.10-host",
    of_3_11: "3.11-host",
    of_3_12: "3.12-host",
    of_3_13: "3.13-host",
    of_3_14: "3.14-debian",
    of_3_15: "3.15-debian",
    of_3_13_musl: "3.13-musl",
);

fn every_object(name: &str) {
    let Some(cell) = matrix::cell(name) else {
        return;
    };
    for named in NAMED {
        let define = format!("-DWITH_{named}");
        let options = ["-fno-pie", "-no-pie", &define];
        let host = match Host::of(&cell, Linked::Shared, &[program("copied.c")], &options) {
            Ok(host) => host,
            Err(why) => return tests::skip(&format!("CPython {name} cannot be embedded: {why}")),
        };
        eprintln!("CPython {name}, a copy of {named}");
        let environment = [("WITHOUT_PACKAGE", "1"), ("PYTHONHOME", host.home())];
        let workload = host.cell().start("remote_parent.py", &environment);
        let functions = [
            ("in_server", "server", "server"),
            ("in_child", "child", "server"),
            ("in_none", "", ""),
        ];
        functions_are_right(workload, &[], &functions);
    }
}

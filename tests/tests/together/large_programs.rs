//! Programs that are larger than most: in modules, and in what is linked into them.

use tests::{
    embedding::{Host, Linked},
    matrix,
    python::{Workload, program, with_newest},
    spanprof::Recording,
};

use crate::matrix::spans_are_right;

/// A process that has imported 50,000 modules before OpenTelemetry: its spans are known, though finding out how to read
/// them takes many reads.
#[test]
fn many_modules() {
    with_newest(|python| {
        let mut command = python.program("many_modules.py", &["50000"]);
        let mut workload = Workload::start(command.env("WITHOUT_PACKAGE", "1"));
        let recording = Recording::start(&["--frequency", "199", "--pid", &workload.pid()]);
        workload.begin();
        workload.facts("done");
        let recorded = recording.stop();
        let rows = recorded.profile.rows_in("in_span");
        let named = rows.iter().filter(|it| it.label("span_name") == "request");
        let named: i64 = named
            .map(|it| it.nanoseconds / recorded.profile.period)
            .sum();
        let all = recorded.profile.samples_in("in_span");
        eprintln!("{named} of {all} samples are in the span");
        assert!(all > 400, "{recorded:#?}");
        assert!(named * 10 > all * 7, "{named} of {all}: {recorded:#?}");
    });
}

/// A program with the interpreter linked into it, behind 40 MiB of its own constants and 24 MiB of its own data.
#[test]
fn much_linked_into_it() {
    let Some(cell) = matrix::cell("3.14-debian") else {
        return;
    };
    let sources = [program("copied.c"), program("large.s")];
    match Host::of(&cell, Linked::Static, &sources, &["-fno-pie"]) {
        Ok(host) => {
            let environment = [("WITHOUT_PACKAGE", "1"), ("PYTHONHOME", host.home())];
            spans_are_right(host.cell(), &environment, &[], &[]);
        }
        Err(why) => tests::skip(&format!("CPython 3.14 cannot be embedded: {why}")),
    }
}

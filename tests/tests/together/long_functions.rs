//! Functions whose line tables come in parts: their lines are right, or are counted as unknown.

use tests::{
    on_every_python,
    python::{Python, Workload, with_newest},
    spanprof::{Recorded, Recording},
};

on_every_python!(lines_far_behind);

/// The lines of the long function that samples show, the line that is right, and the recording.
fn record(python: &Python, lines: &str) -> (Vec<i64>, i64, Recorded) {
    let mut workload = Workload::start(&mut python.program("long_function.py", &[lines, "1"]));
    let pid = workload.pid();
    let recording = Recording::start(&["--frequency", "199", "--pid", &pid]);
    workload.begin();
    let facts = workload.facts("line");
    let recorded = recording.stop();
    let rows = recorded.profile.rows.iter();
    let frames = rows.filter(|row| row.is_in("burn")).filter_map(|row| {
        let frame = row.frames.iter().find(|it| it.name == "long_function");
        frame.map(|it| it.line)
    });
    let found: Vec<i64> = frames.collect();
    assert!(!found.is_empty(), "{}", recorded.ended.stdout);
    (found, facts["line"].as_i64().unwrap(), recorded)
}

/// A table of some hundred KiB.
fn lines_far_behind(python: &Python) {
    let (found, line, recorded) = record(python, "30000");
    assert!(found.iter().all(|it| *it == line), "{found:?}, not {line}");
    assert_eq!(recorded.count_of("frames_incomplete", "line_table_cut"), 0);
}

/// Of a table of more than 1 MiB, lines behind that are unknown, and counted.
#[test]
fn lines_too_far_behind() {
    with_newest(|python| {
        let (found, _, recorded) = record(python, "300000");
        assert!(found.iter().all(|it| *it == 0), "{found:?}");
        assert!(recorded.count_of("frames_incomplete", "line_table_cut") > 100);
    });
}

//! Programs that move the code of their interpreter to memory of no file, for the sake of huge pages: at the start, or
//! while they are recorded. Stacks, spans and native frames are as without that.

use std::path::{Path, PathBuf};

use tests::{compile::compile, matrix, spanprof::Recorded};

use crate::matrix::{functions_are_right, spans_are_right};

macro_rules! cells {
    ($($test:ident: $name:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            moved($name);
        })*
    };
}

cells!(
    of_3_8: "3.8-host",
    of_3_10: "3.10-host",
    of_3_11: "3.11-host",
    of_3_12: "3.12-host",
    of_3_13: "3.13-host",
);

fn library(folder: &Path) -> PathBuf {
    let library = folder.join("libmove.so");
    compile("moved_text.c", &library, &["-shared", "-fPIC"]);
    library
}

fn moved(name: &str) {
    let Some(cell) = matrix::cell(name) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let library = library(folder.path());
    let library = library.to_str().unwrap();
    let always = [("WITHOUT_PACKAGE", "1"), ("MOVED_TEXT", "python3.")];
    let at_start = [("MOVED_AT_START", "1"), ("LD_PRELOAD", library)];
    let recorded = spans_are_right(&cell, &[always, at_start].concat(), &[], &[]);
    assert_native_frames_are_named(&recorded);
    let later = [&always[..], &[("MOVING_LIBRARY", library)]].concat();
    let workload = cell.start("moved_text.py", &later);
    let functions = [("in_span", "span", "span"), ("in_none", "", "")];
    let recorded = functions_are_right(workload, &[], &functions);
    assert_native_frames_are_named(&recorded);
}

/// Code that was moved is still that of its file.
fn assert_native_frames_are_named(recorded: &Recorded) {
    let is_unnamed = |name: &String| name.starts_with("[anonymous]");
    let unnamed = recorded
        .profile
        .seconds_of(|row| row.stack.iter().any(is_unnamed));
    assert!(unnamed < 0.05, "{unnamed} s in memory of no file");
}

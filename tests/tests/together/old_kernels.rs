//! The kernel programs for kernels before Linux 5.17, which every later one takes, too: they find the right spans, and
//! no sample is lost between their two halves.

use tests::matrix;

use crate::matrix::spans_are_right;

/// Has the agent take them on a kernel that could do better.
const SPLIT: [&str; 2] = ["--kernel-programs", "split"];

/// The thread's state is that of the holder of the GIL.
#[test]
fn state_of_the_holder() {
    check("3.10-host");
}

/// The thread's state is in a thread-local of the program, at a distance from the thread pointer.
#[test]
fn state_in_a_thread_local() {
    check("3.13-host");
}

/// It is in a thread-local of a library, in a block that is found by the module's number.
#[test]
fn state_in_a_block() {
    check("3.13-musl");
}

fn check(name: &str) {
    let Some(cell) = matrix::cell(name) else {
        return;
    };
    let recorded = spans_are_right(&cell, &[("WITHOUT_PACKAGE", "1")], &SPLIT, &[]);
    let says = &recorded.ended.stderr;
    assert!(says.contains("by two programs"), "{says}");
    let taken = recorded.count("samples_taken");
    let lost = recorded.count("samples_lost");
    assert_eq!(taken, recorded.profile.samples() + lost, "{recorded:#?}");
}

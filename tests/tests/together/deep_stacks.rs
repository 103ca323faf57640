//! Stacks with more Python frames than a sample holds: what lacks is the middle, with its name and its number.

use tests::{
    on_every_python,
    profile::Row,
    python::{Python, Workload, with_newest},
    spanprof::{Recorded, Recording},
};

on_every_python!(the_middle_is_left_out, deeper_than_is_walked);

/// A second of CPU then has some 200 samples.
const FREQUENCY: &str = "199";
/// Frames that a sample of a deep stack has: `INNERMOST_FRAMES` and `OUTERMOST_FRAMES` of `profiler-common`.
const INNERMOST: usize = 192;
const OUTERMOST: usize = 64;
/// Frames besides `walk`: `burn`, a handler, `main` and `<module>`.
const OTHERS: usize = 4;

/// The samples of a recursion of this depth, and those at its bottom.
fn record(python: &Python, depth: usize, flags: &[&str]) -> (Recorded, Vec<Row>) {
    let depth = depth.to_string();
    let mut workload = Workload::start(&mut python.program("deep.py", &[&depth, "1.5"]));
    let pid = workload.pid();
    let arguments = [&["--frequency", FREQUENCY, "--pid", &pid], flags].concat();
    let recording = Recording::start(&arguments);
    workload.begin();
    workload.facts("cpu");
    let recorded = recording.stop();
    let burns = |row: &&Row| row.is_in("burn");
    let rows: Vec<Row> = recorded
        .profile
        .rows
        .iter()
        .filter(burns)
        .cloned()
        .collect();
    let samples: i64 =
        rows.iter().map(|row| row.nanoseconds).sum::<i64>() / recorded.profile.period;
    assert!(samples > 100, "{samples}: {}", recorded.ended.stdout);
    (recorded, rows)
}

/// Frames of the recursion in a row.
fn walks(row: &Row) -> usize {
    row.stack.iter().filter(|it| *it == "walk").count()
}

/// Every stack has its leaf and its handler, which is that of its span, and says how many frames it lacks; the sum is
/// exact.
fn the_middle_is_left_out(python: &Python) {
    for (depth, gap) in [
        (200, None),
        (300, Some("[32-63 frames left out]")),
        (1000, Some("[512-1023 frames left out]")),
    ] {
        let (recorded, rows) = record(python, depth, &[]);
        let mut omitted = 0;
        for row in &rows {
            let handlers = ["x", "y"].map(|name| row.is_in(&format!("handler_{name}")));
            assert!(row.is_in("<module>"), "{row:#?}");
            // The first samples in a span are without it, as long as its class is not known.
            match row.label("span_name") {
                "x" => assert_eq!(handlers, [true, false]),
                "y" => assert_eq!(handlers, [false, true]),
                _ => assert!(handlers.contains(&true), "{row:#?}"),
            }
            match gap {
                None => assert_eq!(walks(row), depth + 1),
                Some(gap) => {
                    assert_eq!(walks(row), INNERMOST + OUTERMOST - OTHERS);
                    let place = |name| row.stack.iter().position(|it| it == name);
                    let innermost = place(gap).unwrap() - place("burn").unwrap();
                    assert_eq!(innermost, INNERMOST, "{row:#?}");
                    omitted += row.nanoseconds / recorded.profile.period;
                }
            }
            assert!(!row.is_in("[truncated]"));
        }
        let stacks = recorded.count_of("stacks_incomplete", "python_middle_left_out");
        let frames = recorded.count("python_frames_left_out");
        // Besides those in `burn`, there are stacks on the way down and up.
        assert!(stacks >= omitted, "{stacks} of {omitted}");
        let each =
            i64::try_from((depth + 1 + OTHERS).saturating_sub(INNERMOST + OUTERMOST)).unwrap();
        assert!(frames >= each * omitted, "{frames} of {each} x {omitted}");
        assert!(
            frames <= (each + 1) * stacks,
            "{frames} of {each} x {stacks}"
        );
    }
}

/// If a stack is deeper than is walked, its end is not known: it has the innermost frames and says so. The bound can be
/// raised.
fn deeper_than_is_walked(python: &Python) {
    let (recorded, rows) = record(python, 900, &["--python-depth", "512"]);
    for row in &rows {
        assert_eq!(walks(row), INNERMOST - 1);
        assert_eq!(row.stack.last().map(String::as_str), Some("[truncated]"));
    }
    assert!(recorded.count_of("stacks_incomplete", "python_too_deep") > 100);
    let (_, rows) = record(python, 900, &["--python-depth", "1024"]);
    assert!(rows.iter().all(|row| row.is_in("<module>")), "{rows:#?}");
}

/// Kernels before Linux 5.17 walk fewer frames: the stack ends where their walk does.
#[test]
fn without_loops() {
    with_newest(|python| {
        let (recorded, rows) = record(python, 1000, &["--kernel-programs", "split"]);
        assert!(rows.iter().all(|row| row.is_in("[truncated]")), "{rows:#?}");
        assert!(recorded.count_of("stacks_incomplete", "python_too_deep") > 100);
    });
}

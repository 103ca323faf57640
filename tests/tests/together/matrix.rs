//! Every kind of CPython, every way of building it: stacks, spans and what `doctor` says of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    panic,
    path::Path,
};

use profiler::targets::elf::{Elf, OpenFile};
use serde_json::Value;
use tests::{
    matrix::{self, Cell},
    profile::{Profile, Row},
    python::Workload,
    spanprof::{self, Recorded, Recording},
};

use crate::machinery;

/// Enough for some sixty samples of each shape.
const FREQUENCY: &str = "499";
/// Python frames in a sample of a deep stack: `INNERMOST_FRAMES` and `OUTERMOST_FRAMES` of `profiler-common`.
const INNERMOST: usize = 192;
const OUTERMOST: usize = 64;

/// A name, and what fails by a panic.
type Check = (&'static str, fn(&Cell));

/// The first minor version whose builds here have a JIT compiler, if it is switched on.
const FIRST_WITH_JIT: u8 = 14;

/// What is tested in every cell.
const CHECKS: [Check; 7] = [
    ("doctor", doctor_knows_it),
    ("owner", it_is_who_it_says),
    ("stacks", stacks_are_those_of_the_interpreter),
    ("jit", stacks_of_compiled_code),
    ("machinery", machinery::is_part_of_python),
    ("spans", spans_without_the_package),
    ("package", spans_with_the_package),
];

/// Makes a test of each cell, and the list of all their names.
macro_rules! cells {
    ($($test:ident: $name:literal),* $(,)?) => {
        const NAMES: &[&str] = &[$($name),*];
        $(#[test]
        fn $test() {
            every_check($name);
        })*
    };
}

cells!(
    of_3_8_host: "3.8-host",
    of_3_9_host: "3.9-host",
    of_3_10_host: "3.10-host",
    of_3_11_host: "3.11-host",
    of_3_12_host: "3.12-host",
    of_3_13_host: "3.13-host",
    of_3_14_host: "3.14-host",
    of_3_15_host: "3.15-host",
    of_3_9_debian: "3.9-debian",
    of_3_9d_debian: "3.9d-debian",
    of_3_11_debian: "3.11-debian",
    of_3_11d_debian: "3.11d-debian",
    of_3_13_debian: "3.13-debian",
    of_3_14_debian: "3.14-debian",
    of_3_15_debian: "3.15-debian",
    of_3_15d_debian: "3.15d-debian",
    of_3_13t: "3.13t",
    of_3_13_musl: "3.13-musl",
);

/// Every cell that is fetched has a test, and every test a cell.
#[test]
fn every_cell_has_a_test() {
    let cells = matrix::cells();
    let names: Vec<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
    // Without a matrix there is nothing to compare with, which the run has already said.
    assert!(names.is_empty() || names == NAMES, "{names:?}");
}

/// A line of the matrix is printed with a mark for each check; whatever is wrong fails.
fn every_check(name: &str) {
    let Some(cell) = matrix::cell(name) else {
        return;
    };
    let mut line = format!("{:<14} {:<34}", cell.name, cell.what);
    let mut failed = Vec::new();
    for (check, run) in CHECKS {
        let mark = if (check == "package" && !cell.has_package())
            || (check == "jit" && cell.minor < FIRST_WITH_JIT)
        {
            "none"
        } else if panic::catch_unwind(|| run(&cell)).is_ok() {
            "ok"
        } else {
            failed.push(check);
            "FAILED"
        };
        write!(line, " {check} {mark:<8}").unwrap();
    }
    line.push('\n');
    // Past the capture of output: the log of a run shows it.
    std::io::stderr().write_all(line.as_bytes()).unwrap();
    assert!(failed.is_empty(), "{name}: {failed:?}");
}

pub(crate) fn doctor(pid: &str) -> Value {
    let ended = spanprof::run(&["doctor", "--json", "--no-sample", "--pid", pid]);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    report["processes"]
        .get(0)
        .unwrap_or(&report["refused"][0])
        .clone()
}

fn doctor_knows_it(cell: &Cell) {
    let workload = cell.start("two_spans.py", &[("WITHOUT_PACKAGE", "1")]);
    let process = doctor(&workload.pid());
    let version = process["version"].as_str().unwrap();
    assert!(
        version.starts_with(&format!("3.{}.", cell.minor)),
        "{process}"
    );
    assert_eq!(process["reason"], Value::Null, "{process}");
    assert_eq!(process["span_source"], "context", "{process}");
    let flavour = match (
        cell.free_threaded,
        cell.name.contains('d') && cell.what.contains("DEBUG"),
    ) {
        (true, _) => "free-threaded",
        (_, true) => "debug",
        _ => "default",
    };
    assert_eq!(process["flavour"], flavour, "{process}");
    let offsets = if cell.minor < 13 {
        "table"
    } else {
        "debug offsets"
    };
    assert_eq!(process["offsets"], offsets, "{process}");
}

/// A title over the command line and the environment hides neither, and what is named in code is named so.
fn it_is_who_it_says(cell: &Cell) {
    let program = cell.program("owner.py");
    let program = program.to_str().unwrap();
    for (ways, name, by) in [
        (&["0", "title", "own"][..], "checkout", "interpreter"),
        (&["0", "title", "code"], "named in code", "tracer provider"),
    ] {
        let arguments = [&[program], ways].concat();
        let mut command = cell.command(&arguments);
        let workload = Workload::start(command.env("OTEL_SERVICE_NAME", "checkout"));
        let process = doctor(&workload.pid());
        let said = ["service_name", "service_named_by"].map(|it| &process[it]);
        assert_eq!(said, [name, by], "{process}");
    }
}

/// An interpreter of an unknown version with plausible debug offsets is profiled and called unverified; one with
/// implausible offsets is refused, and the version named. Both are a 3.15 that says it is a 3.16.
#[test]
fn versions_to_come() {
    let Some(cell) = matrix::cell("3.15-debian") else {
        return;
    };
    let (root, python) = (cell.root.as_ref().unwrap(), cell.python.as_ref().unwrap());
    let folder = tempfile::tempdir_in(root.join("tmp")).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let path = root.join(python.strip_prefix("/").unwrap());
    let mut bytes = fs::read(&path).unwrap();
    // The interpreter's own code may compare with the cookie elsewhere.
    let at = memchr::memmem::find_iter(&bytes, b"xdebugpy")
        .find(|at| bytes[at + 10..at + 12] == [15, 3])
        .unwrap();
    // Its modules and its code hold the version, too, and must go on to agree.
    for place in [at + 8, place_of_version(&path)] {
        assert_eq!(bytes[place + 2..place + 4], [15, 3]);
        bytes[place + 2] = 16;
    }
    let start = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let python = Path::new("/").join(path.strip_prefix(root).unwrap());
        let cell = cell.with_python(&python);
        cell.start(
            "shapes.py",
            &[("WITHOUT_PACKAGE", "1"), ("PYTHONHOME", "/usr")],
        )
    };
    let mut plausible = start("python3.16", &bytes);
    let process = doctor(&plausible.pid());
    assert!(
        process["version"].as_str().unwrap().starts_with("3.16."),
        "{process}"
    );
    assert_eq!(process["offsets"], "debug offsets, unverified", "{process}");
    assert_eq!(process["reason"], Value::Null, "{process}");
    stacks_are_right(&mut plausible);
    // `runtime_state.interpreters_head`: the sixth word.
    bytes[at + 5 * 8..at + 6 * 8].copy_from_slice(&u64::MAX.to_le_bytes());
    let absurd = start("python3.16-absurd", &bytes);
    let process = doctor(&absurd.pid());
    let reason = process["reason"].as_str().unwrap();
    assert!(reason.contains("runtime.interpreters"), "{process}");
}

/// The offset of `Py_Version` in a file.
fn place_of_version(path: &Path) -> usize {
    let data = OpenFile::open(path).unwrap().data();
    let elf = Elf::parse(&data).unwrap();
    let [symbol] = elf.dynamic_symbols(["Py_Version"]).unwrap();
    let address = symbol.unwrap().address;
    let segments = elf.segments();
    let segment = segments
        .iter()
        .find(|it| (it.address..it.address + it.size).contains(&address));
    let segment = segment.unwrap();
    usize::try_from(address - segment.address + segment.offset).unwrap()
}

/// Each sample in `burn` was taken under a stack that the interpreter itself has written down: names,
/// files and current lines; and no stack that burned for long is missing.
fn stacks_are_those_of_the_interpreter(cell: &Cell) {
    stacks_are_right(&mut cell.start("shapes.py", &[("WITHOUT_PACKAGE", "1")]));
}

/// The same with the interpreter's JIT compiler on.
fn stacks_of_compiled_code(cell: &Cell) {
    let environment = [("WITHOUT_PACKAGE", "1"), ("PYTHON_JIT", "1")];
    stacks_are_right(&mut cell.start("shapes.py", &environment));
}

fn stacks_are_right(workload: &mut Workload) {
    let recording = Recording::start(&["--frequency", FREQUENCY, "--pid", &workload.pid()]);
    workload.begin();
    let facts = workload.facts("stacks");
    let recorded = recording.stop();
    let expected: BTreeSet<Stack> = facts["stacks"]
        .as_array()
        .unwrap()
        .iter()
        .map(stack)
        .collect();
    let mut seen: BTreeMap<Stack, i64> = BTreeMap::new();
    let mut wrong: BTreeMap<Stack, i64> = BTreeMap::new();
    let mut deep = 0;
    for row in &recorded.profile.rows {
        let Some((stack, is_deep)) = callers_of_burn(row) else {
            continue;
        };
        let samples = row.nanoseconds / recorded.profile.period;
        let found = if is_deep {
            deep += samples;
            // `spin` and `burn` come first.
            assert_eq!(stack.len(), INNERMOST - 2 + OUTERMOST);
            let (inner, outer) = stack.split_at(INNERMOST - 2);
            expected
                .iter()
                .find(|it| it.starts_with(inner) && it.ends_with(outer))
        } else {
            expected.get(&stack)
        };
        let table = if found.is_some() {
            &mut seen
        } else {
            &mut wrong
        };
        *table.entry(found.cloned().unwrap_or(stack)).or_default() += samples;
    }
    assert!(
        wrong.is_empty(),
        "not among what was written down: {wrong:#?}"
    );
    assert!(deep > 10, "{deep} samples of the deep recursion");
    let missed: Vec<&Stack> = expected
        .iter()
        .filter(|stack| !stack[0].0.contains("again") && !seen.contains_key(*stack))
        .collect();
    assert!(missed.is_empty(), "without a sample: {missed:#?}");
    let again = seen
        .keys()
        .filter(|stack| stack[0].0.contains("again"))
        .count();
    assert!(again > 40, "{again} of 60 redefinitions seen");
}

/// Name, file and line of each frame, leaf first.
type Stack = Vec<(String, String, i64)>;

fn stack(value: &Value) -> Stack {
    let frame = |frame: &Value| {
        let text = |at: usize| frame[at].as_str().unwrap().to_owned();
        (text(0), text(1), frame[2].as_i64().unwrap())
    };
    value.as_array().unwrap().iter().map(frame).collect()
}

/// The Python frames above `burn`, while it spins, and whether those in the middle are missing.
fn callers_of_burn(row: &Row) -> Option<(Stack, bool)> {
    let is_deep = row.is_in("[32-63 frames left out]");
    let mut frames = row.frames.iter().filter(|frame| !frame.file.is_empty());
    // Before it spins, `burn` itself writes down its callers.
    let _ = frames.next().filter(|frame| frame.name == "spin")?;
    let _ = frames.next().filter(|frame| frame.name == "burn")?;
    let callers = frames.map(|it| (it.name.clone(), it.file.clone(), it.line));
    Some((callers.collect(), is_deep))
}

fn spans_without_the_package(cell: &Cell) {
    spans_are_right(cell, &[("WITHOUT_PACKAGE", "1")], &[], &[]);
}

/// With the package a root is known that no sample has hit.
fn spans_with_the_package(cell: &Cell) {
    spans_are_right(cell, &[], &[], &[("in_quiet", "inner", "quiet")]);
}

/// Every sample of a function that runs in one span only has that span, and its root; recorded with these
/// arguments, too.
pub(crate) fn spans_are_right(
    cell: &Cell,
    environment: &[(&str, &str)],
    arguments: &[&str],
    more: &[(&str, &str, &str)],
) -> Recorded {
    let workload = cell.start("two_spans.py", environment);
    let always = [
        ("in_root", "root", "root"),
        ("in_child", "child", "root"),
        ("in_another", "another", "another"),
        ("in_none", "", ""),
    ];
    functions_are_right(workload, arguments, &[&always, more].concat())
}

/// Every sample of these functions of a workload has the span and the root beside them, but for the first of all;
/// recorded with these arguments, too.
pub(crate) fn functions_are_right(
    mut workload: Workload,
    arguments: &[&str],
    functions: &[(&str, &str, &str)],
) -> Recorded {
    let pid = workload.pid();
    let always = ["--frequency", FREQUENCY, "--pid", &pid];
    let recording = Recording::start(&[&always, arguments].concat());
    workload.begin();
    workload.facts("done");
    let recorded = recording.stop();
    for &(function, active, root) in functions {
        let (right, all) = share(&recorded.profile, function, active, root);
        assert!(all > 20, "{function}: {all} samples");
        // What a class of spans is like is learnt from its first samples.
        assert!(
            right * 100 >= all * 90,
            "{function}: {right} of {all} right"
        );
    }
    recorded
}

fn share(profile: &Profile, function: &str, active: &str, root: &str) -> (i64, i64) {
    let (mut right, mut all) = (0, 0);
    for row in profile.rows_in(function) {
        let found = (row.label("active_span_name"), row.label("span_name"));
        let samples = row.nanoseconds / profile.period;
        all += samples;
        if found == (active, root) {
            right += samples;
        } else {
            assert_eq!(found, ("", ""), "{function}");
        }
    }
    (right, all)
}

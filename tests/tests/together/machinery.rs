//! The interpreter's own machinery in a flame graph: a part of the Python function that it runs, for
//! every way in which an interpreter is built.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use tests::{
    compile::compile,
    matrix::{self, Cell},
    process::Running,
    profile::{Frame, Row},
    spanprof::{self, Recording},
};

/// Enough for some hundred samples of each function.
const FREQUENCY: &str = "499";

/// Names of native frames above Python frames by the file they are in, with samples; the file is empty
/// for that of the interpreter.
type Above = BTreeMap<(String, String), i64>;

/// A file keeps the frames of the machinery that a flame graph of the same samples does not show; what it
/// shows above Python frames is the kernel, libraries and modules, each as far as it has symbols.
pub(crate) fn is_part_of_python(cell: &Cell) {
    let mut workload = cell.start("machinery.py", &[("WITHOUT_PACKAGE", "1")]);
    let folder = tempfile::tempdir().unwrap();
    let svg = folder.path().join("cpu.svg");
    let arguments = [
        "--frequency",
        FREQUENCY,
        "--pid",
        &workload.pid(),
        "--output",
    ];
    let recording = Recording::start(&[&arguments[..], &[svg.to_str().unwrap()]].concat());
    workload.begin();
    workload.facts("used");
    let recorded = recording.stop();
    let above = above(&recorded.profile.rows);
    let svg = fs::read_to_string(&svg).unwrap();
    let is_shown = |name: &str| svg.contains(&format!("<title>{name} ("));
    let of_the_interpreter = above.iter().filter(|((file, _), _)| file.is_empty());
    let samples: i64 = of_the_interpreter.clone().map(|(_, count)| count).sum();
    assert!(samples / recorded.profile.period > 50, "{above:#?}");
    let others = above.iter().filter(|((file, _), _)| !file.is_empty());
    // A debug build has some of its functions once in each file, and a stack whose Python part could not be
    // read is shown as it is.
    let mut elsewhere = alone(&recorded.profile.rows);
    elsewhere.extend(others.clone().map(|((_, name), _)| name.clone()));
    let mut hidden = 0;
    for ((_, name), count) in of_the_interpreter {
        if !elsewhere.contains(name) {
            assert!(!is_shown(name), "{name}: {above:#?}, alone {elsewhere:?}");
            hidden += count;
        }
    }
    assert!(hidden > samples / 2, "{above:#?}, alone {elsewhere:?}");
    for ((file, name), _) in others {
        let shown = if name.contains("+0x") {
            format!("{} (no symbol)", file.rsplit('/').next().unwrap())
        } else {
            name.clone()
        };
        assert!(is_shown(&shown), "{shown}");
    }
    for function in ["make_objects", "divide", "make_text"] {
        assert!(is_shown(function), "{function}");
    }
    assert!(!svg.contains("+0x"));
    assert!(
        above.keys().any(|(_, name)| name.ends_with("_[k]")),
        "{above:#?}"
    );
}

fn is_python(frame: &Frame) -> bool {
    !frame.file.is_empty()
}

/// Names of the frames of stacks that have no Python frame.
fn alone(rows: &[Row]) -> BTreeSet<String> {
    let stacks = rows.iter().filter(|row| !row.frames.iter().any(is_python));
    stacks
        .flat_map(|row| row.frames.iter().map(|frame| in_svg(&frame.name)))
        .collect()
}

fn in_svg(name: &str) -> String {
    name.replace('<', "&lt;").replace('>', "&gt;")
}

fn above(rows: &[Row]) -> Above {
    let mut above = Above::new();
    for row in rows {
        let Some(python) = row.frames.iter().find(|it| is_python(it)) else {
            continue;
        };
        for frame in row.frames.iter().take_while(|frame| !is_python(frame)) {
            let file = if frame.mapping == python.mapping {
                String::new()
            } else {
                frame.mapping.clone()
            };
            *above.entry((file, in_svg(&frame.name))).or_default() += row.nanoseconds;
        }
    }
    above
}

/// A program that has CPython linked into its own file: its frames above Python frames stay, because they cannot
/// be told from the interpreter's.
#[test]
fn programs_keep_their_own_work() {
    let Some(cell) = matrix::cell("3.11d-debian") else {
        return;
    };
    let root = cell.root.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("shopd");
    let libraries = ["libexpat.so.1", "libz.so.1"].map(|name| {
        let copy = folder.path().join(name);
        fs::copy(root.join("lib/x86_64-linux-gnu").join(name), &copy).unwrap();
        copy.to_str().unwrap().to_owned()
    });
    let interpreter = root.join("usr/lib/x86_64-linux-gnu/libpython3.11d.a");
    let own_libraries = format!("-Wl,-rpath,{}", folder.path().display());
    let mut arguments = vec!["-no-pie", "-rdynamic", interpreter.to_str().unwrap()];
    arguments.extend(libraries.iter().map(String::as_str));
    arguments.extend([own_libraries.as_str(), "-lm"]);
    compile("embed_static.c", &program, &arguments);
    let svg = folder.path().join("cpu.svg");
    let mut command = spanprof::command(&["record", "--frequency", FREQUENCY, "--output"]);
    command.arg(&svg).arg("--").arg(&program);
    command.env("PYTHONHOME", root.join("usr"));
    let ended = Running::start(&mut command).wait();
    assert!(ended.status.success(), "{ended:#?}");
    let svg = fs::read_to_string(&svg).unwrap();
    let percent = |name: &str| -> f64 {
        let title = format!("<title>{name} (");
        let titles = svg.split(&title).skip(1);
        let shares = titles.filter_map(|it| it.split_once(", ")?.1.split_once('%')?.0.parse().ok());
        shares.fold(0.0, f64::max)
    };
    let (own, python) = (percent("own_work"), percent("called"));
    assert!(own > 50.0 && python >= own, "{own} % in {python} %");
}

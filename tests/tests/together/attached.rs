//! The thread state that is attached to a thread, by the interpreter's own thread-local, in every kind of
//! CPython that has one: as a program, and in a library that a program loads.

use std::{fs, path::Path, process::Command};

use profiler::{
    id::Pid,
    targets::{
        elf::Elf,
        look::memory::Memory,
        mappings, procfs,
        python::{
            detect::{Detection, detect},
            place::place,
            thread_local,
        },
    },
};
use profiler_common::walk::ReadUser as _;
use tests::{
    compile::compile,
    matrix::{self, Cell},
    process::{Running, eventually},
};

/// The first minor version with the thread-local.
const FIRST: u8 = 12;
/// The number of the system call `read` on x86-64, in which the idle thread waits.
const READ: &str = "0 ";
/// Often enough that a wrong value would be seen.
const READS: usize = 1000;

/// Runs `attached.py` and reads the thread-local in its two threads: in the one that runs it is the thread's state,
/// and in the one that waits it is null.
fn check(command: &mut Command, runs: &str, what: &str) {
    let running = Running::start(command.arg(runs));
    let line = running.stdout.wait_for("threads");
    let said: Vec<u64> = line
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let (threads, tids) = said.split_at(2);
    let process = procfs::stat(Pid(running.pid())).unwrap().process;
    let memory = Memory::open(process).unwrap();
    let mappings = mappings::read(process.pid).unwrap();
    let mut files = mappings.iter().filter(|mapping| mapping.file.inode != 0);
    let (facts, placed) = files
        .find_map(|mapping| {
            let file = mappings::open(process.pid, mapping).ok()?;
            let data = file.data();
            let elf = Elf::parse(&data).ok()?;
            let Detection::Found(facts) = detect(&elf) else {
                return None;
            };
            let placed = place(&facts, mapping)?;
            Some((facts, placed))
        })
        .unwrap();
    assert!(facts.thread_local.is_some(), "{what}: not found");
    let thread_local = facts.thread_local.unwrap();
    let is_musl = thread_local::is_musl(&mappings);
    let place = thread_local::resolve(thread_local, placed.bias, is_musl, &memory).unwrap();
    let word = |address: u64| memory.read_u64(address).unwrap();
    // The state that a thread has made; in this program no other thread runs it.
    let state_of = |thread: u64| {
        let interpreter = word(placed.runtime + u64::from(facts.layout.runtime_interpreters));
        let mut state = word(interpreter + u64::from(facts.layout.interpreter_threads));
        while word(state + u64::from(facts.layout.thread_id)) != thread {
            state = word(state + u64::from(facts.layout.thread_next));
        }
        state
    };
    let (expected, waits) = match runs {
        "main" => ([state_of(threads[0]), 0], tids[1]),
        _ => ([0, state_of(threads[1])], tids[0]),
    };
    let expected = expected.map(Some);
    let read = || [0, 1].map(|at| thread_local::read_at(&memory, place, threads[at]));
    // The threads print their ids before they run or wait. So the second may still have to take the GIL once more
    // before it waits.
    let system_call = format!("/proc/{}/task/{waits}/syscall", running.pid());
    let is_waiting = || fs::read_to_string(&system_call).is_ok_and(|call| call.starts_with(READ));
    eventually(what, || (is_waiting() && read() == expected).then_some(()));
    for _ in 0..READS {
        assert_eq!(read(), expected, "{what}, {runs}: {place:?}");
    }
    eprintln!("{what}, {runs}: {thread_local:x?}, {place:x?}");
}

fn cells() -> impl Iterator<Item = Cell> {
    let cells = matrix::cells().into_iter();
    cells.filter(|cell| cell.minor >= FIRST && cell.python.is_some())
}

#[test]
fn in_every_kind_of_interpreter() {
    for cell in cells() {
        let program = cell.program("attached.py");
        for runs in ["main", "other"] {
            let mut command = cell.command(&[program.to_str().unwrap()]);
            check(&mut command, runs, &cell.name);
        }
    }
}

/// The path of an interpreter's library, as the interpreter sees it: Debian's folder, or beside a program that was
/// built here.
fn library(cell: &Cell) -> Option<String> {
    let debug = if cell.name.contains("d-debian") {
        "d"
    } else {
        ""
    };
    let name = format!("libpython3.{}{debug}.so.1.0", cell.minor);
    let Some(root) = &cell.root else {
        let python = cell.python.as_ref()?;
        let beside = fs::canonicalize(python).ok()?.parent()?.join("../lib");
        let path = beside.join(name);
        return path.is_file().then(|| path.to_str().unwrap().to_owned());
    };
    let path = format!("/usr/lib/x86_64-linux-gnu/{name}");
    root.join(&path[1..]).is_file().then_some(path)
}

/// The loader may place the thread-locals of a library that is loaded late anywhere.
#[test]
fn in_a_library_that_is_loaded() {
    let mut has_library = false;
    // The program is one of glibc's.
    for cell in cells().filter(|cell| !cell.what.contains("musl")) {
        let Some(library) = library(&cell) else {
            continue;
        };
        let inside = cell.root.as_deref().unwrap_or(Path::new("/"));
        let folder = tempfile::tempdir_in(inside.join("tmp")).unwrap();
        let program = folder.path().join("shopd");
        compile("embed.c", &program, &[]);
        let seen = Path::new("/").join(program.strip_prefix(inside).unwrap());
        let script = cell.program("attached.py");
        let arguments = [&library, "0", script.to_str().unwrap()];
        for runs in ["main", "other"] {
            let mut command = cell.with_python(&seen).command(&arguments);
            if cell.root.is_none() {
                let python = cell.python.as_ref().unwrap();
                let home = fs::canonicalize(python).unwrap();
                command.env("PYTHONHOME", home.parent().unwrap().join(".."));
            }
            check(&mut command, runs, &format!("{} loaded", cell.name));
        }
        has_library = true;
    }
    if !has_library {
        tests::skip("no CPython from 3.12 on has a libpython here");
    }
}

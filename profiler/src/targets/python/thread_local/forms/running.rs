//! A program with a thread-local: compiled, started, and compared with what it says of itself.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use crate::{
    id::Pid,
    targets::{
        Mapping,
        elf::{Elf, OpenFile},
        look::memory::Memory,
        mappings, procfs,
        python::{
            place::load_bias,
            thread_local::{Place, ThreadLocal, is_musl, read_at, resolve},
        },
    },
};

const SOURCE: &str = include_str!("../forms.c");

/// Compiles a half of the source, or both.
pub(crate) fn compile(compiler: &str, arguments: &[&str], into: &Path) {
    compile_source(compiler, arguments, into, SOURCE, "c");
}

/// Compiles a text of this language.
pub(super) fn compile_source(
    compiler: &str,
    arguments: &[&str],
    into: &Path,
    text: &str,
    language: &str,
) {
    let source = into.with_extension(language);
    std::fs::write(&source, text).unwrap();
    let output = Command::new(compiler)
        .arg(&source)
        .args(arguments)
        .args(["-Wall", "-Werror", "-o"])
        .arg(into)
        .args(["-pthread"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{compiler} {arguments:?}: {said}");
}

/// A program with the thread-local, at the end of its words.
pub(super) struct Running {
    child: Child,
    /// Thread pointers, with what the thread-local holds there; 0 in a thread that never used it.
    threads: Vec<(u64, u64)>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts it, and reads what it says.
    pub(super) fn start(program: &Path, arguments: &[&Path]) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap();
        let threads = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map(Result::unwrap)
            .take_while(|line| line != "end")
            .map(|line| {
                let (pointer, state) = line.split_once(' ').unwrap();
                (number(pointer), number(state))
            })
            .collect();
        Self { child, threads }
    }

    /// Checks that the thread-local of a file is in each thread what the program says it is.
    pub(super) fn check(&self, file: &Path, thread_local: ThreadLocal, what: &str) {
        let process = procfs::stat(Pid(self.child.id())).unwrap().process;
        let memory = Memory::open(process).unwrap();
        let mappings: Vec<Mapping> = mappings::read(process.pid).unwrap();
        let data = OpenFile::open(file).unwrap().data();
        let elf = Elf::parse(&data).unwrap();
        let path = file.to_str().unwrap();
        let mapping = mappings.iter().find(|mapping| &*mapping.path == path);
        let bias = load_bias(elf.segments(), mapping.unwrap()).unwrap();
        let place = resolve(thread_local, bias, is_musl(&mappings), &memory);
        let place = place.unwrap_or_else(|error| panic!("{what}: {error}"));
        let states: Vec<u64> = self.threads.iter().map(|(_, state)| *state).collect();
        assert_eq!(states, [0, 0, 0x5_eed0, 0x5_eed8], "{what}");
        for (pointer, state) in &self.threads {
            let found = read_at(&memory, place, *pointer);
            let is_right = match (place, state) {
                (Place::Dynamic { .. }, 0) => matches!(found, None | Some(0)),
                _ => found == Some(*state),
            };
            assert!(
                is_right,
                "{what}: {found:x?} in place of {state:#x}, {place:?}"
            );
        }
    }
}

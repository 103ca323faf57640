//! Running interpreters, and their memory.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use profiler::{
    id::Pid,
    targets::{
        elf::Elf,
        mappings,
        python::{
            detect::{Detection, detect},
            place::{Placed, place},
        },
    },
};
use profiler_common::{
    python::PythonLayout,
    walk::{Block, ReadUser},
};

/// CPython 3.8 to 3.15, those that are installed; says so if there is none, and fails on CI.
pub(crate) fn interpreters() -> Vec<PathBuf> {
    let found = launcher::interpreter::supported();
    if found.is_empty() {
        launcher::skip("no CPython 3.8 to 3.15 here");
    }
    found
}

/// An interpreter that runs a script; it ends with the test, even if that panics.
pub(crate) struct Running {
    child: Child,
    memory: File,
    stdout: BufReader<ChildStdout>,
    /// The layout of its structures.
    pub(crate) layout: PythonLayout,
    /// The addresses of its structures.
    pub(crate) placed: Placed,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    /// Starts a script; returns when it has written its first line, and that line.
    pub(crate) fn start(python: &Path, script: &str) -> (Self, String) {
        let mut child = Command::new(python)
            .args(["-I", "-X", "utf8", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let (layout, placed) = find(Pid(child.id()));
        let running = Self {
            memory: File::open(format!("/proc/{}/mem", child.id())).unwrap(),
            child,
            stdout,
            layout,
            placed,
        };
        (running, line)
    }

    /// The next line it writes; empty when it has ended.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// The start of the stack of its first thread: `startstack` of `/proc/PID/stat`.
    pub(crate) fn first_stack(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let behind_name = stat.rsplit_once(')').unwrap().1;
        behind_name.split(' ').nth(26).unwrap().parse().unwrap()
    }

    fn word(&self, address: u64) -> u64 {
        self.read_u64(address).unwrap()
    }

    /// The name of a code object.
    pub(crate) fn name(&self, code: u64) -> String {
        self.string(self.word(code + u64::from(self.layout.code_name)))
    }

    /// The name of its file.
    pub(crate) fn file(&self, code: u64) -> String {
        self.string(self.word(code + u64::from(self.layout.code_file)))
    }

    /// A string of characters that take one byte each (Latin-1).
    fn string(&self, string: u64) -> String {
        let layout = &self.layout;
        let state = self.word(string + u64::from(layout.string_state));
        assert_eq!(state >> layout.string_kind_shift & 7, 1);
        assert_eq!(state >> layout.string_compact_bit & 1, 1);
        let data = if state >> layout.string_ascii_bit & 1 == 1 {
            layout.string_ascii_data
        } else {
            layout.string_compact_data
        };
        let size = self.word(string + u64::from(layout.string_length));
        let mut bytes = vec![0; usize::try_from(size).unwrap()];
        self.memory
            .read_exact_at(&mut bytes, string + u64::from(data))
            .unwrap();
        bytes.into_iter().map(char::from).collect()
    }
}

/// Finds the interpreter as the agent does.
fn find(pid: Pid) -> (PythonLayout, Placed) {
    let mappings = mappings::read(pid).unwrap();
    let files = mappings.iter().filter(|mapping| mapping.file.inode != 0);
    let mut found = files.filter_map(|mapping| {
        let data = mappings::open(pid, mapping).unwrap().data();
        match detect(&Elf::parse(&data).unwrap()) {
            Detection::Found(facts) => Some((facts.layout, place(&facts, mapping).unwrap())),
            Detection::NotPython | Detection::Unsupported(_) => None,
        }
    });
    found.next().unwrap()
}

impl ReadUser for Running {
    fn read<const N: usize>(&self, address: u64, size: u32, block: &mut Block<N>) -> bool {
        let bytes = &mut block.bytes_mut()[..size as usize];
        self.memory.read_exact_at(bytes, address).is_ok()
    }

    fn read_u64(&self, address: u64) -> Option<u64> {
        let mut word = [0; 8];
        self.memory.read_exact_at(&mut word, address).ok()?;
        Some(u64::from_le_bytes(word))
    }
}

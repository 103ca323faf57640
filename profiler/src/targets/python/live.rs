//! The layouts against running interpreters: runtime → interpreter → thread → frame → code → name.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use profiler_common::python::{PythonLayout, flags};

use super::{
    detect::{Detection, Facts, detect},
    place::{Placed, place},
};
use crate::{
    id::Pid,
    targets::{elf::Elf, mappings},
};

const SCRIPT: &str = "\
import sys
def fr\u{e8}re():
    frame = sys._getframe()
    print(frame.f_code.co_firstlineno, flush=True)
    sys.stdin.read()
class Outer:
    def method(self):
        fr\u{e8}re()
Outer().method()
";

/// The interpreters of this machine; says so if there is none, and fails on CI.
pub(crate) fn interpreters() -> Vec<PathBuf> {
    let found = launcher::interpreter::supported();
    if found.is_empty() {
        launcher::skip("no CPython 3.8 to 3.15 here");
    }
    found
}

/// The interpreter in a process: what its file says, and where it lies.
pub(crate) fn found(pid: Pid) -> (Arc<Facts>, Placed) {
    mappings::read(pid)
        .unwrap()
        .iter()
        .filter(|mapping| mapping.file.inode != 0)
        .find_map(|mapping| {
            let data = mappings::open(pid, mapping).unwrap().data();
            match detect(&Elf::parse(&data).unwrap()) {
                Detection::Found(facts) => {
                    let placed = place(&facts, mapping).unwrap();
                    Some((facts, placed))
                }
                Detection::NotPython => None,
                Detection::Unsupported(reason) => panic!("{reason}"),
            }
        })
        .unwrap()
}

struct Running {
    child: Child,
    memory: File,
    stdin: Option<std::process::ChildStdin>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(python: &PathBuf) -> Self {
        let mut script = tempfile::NamedTempFile::new().unwrap();
        script.write_all(SCRIPT.as_bytes()).unwrap();
        let mut child = Command::new(python)
            .arg(script.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line.trim(), "2");
        let memory = File::open(format!("/proc/{}/mem", child.id())).unwrap();
        let stdin = child.stdin.take();
        Self {
            child,
            memory,
            stdin,
        }
    }

    fn bytes(&self, address: u64, size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        self.memory.read_exact_at(&mut bytes, address).unwrap();
        bytes
    }

    fn word(&self, address: u64) -> u64 {
        u64::from_le_bytes(self.bytes(address, 8).try_into().unwrap())
    }

    fn half(&self, address: u64) -> u32 {
        u32::from_le_bytes(self.bytes(address, 4).try_into().unwrap())
    }

    /// A string of one-byte characters, which are Latin-1.
    fn string(&self, layout: &PythonLayout, address: u64) -> String {
        let state = self.half(address + u64::from(layout.string_state));
        assert_eq!(state >> layout.string_kind_shift & 7, 1);
        assert_eq!(state >> layout.string_compact_bit & 1, 1);
        let ascii = state >> layout.string_ascii_bit & 1 == 1;
        let length = self.word(address + u64::from(layout.string_length));
        let data = if ascii {
            layout.string_ascii_data
        } else {
            layout.string_compact_data
        };
        self.bytes(address + u64::from(data), usize::try_from(length).unwrap())
            .into_iter()
            .map(char::from)
            .collect()
    }

    /// Names and first lines of the main thread's frames, leaf first.
    fn stack(&self, layout: &PythonLayout, placed: &Placed) -> Vec<(String, u32)> {
        let interpreter = self.word(placed.runtime + u64::from(layout.runtime_interpreters));
        let thread = self.word(interpreter + u64::from(layout.interpreter_threads));
        assert_eq!(self.word(thread + u64::from(layout.thread_next)), 0);
        let mut frame = self.word(thread + u64::from(layout.thread_frame));
        if layout.flags & flags::FRAME_IN_CFRAME != 0 {
            frame = self.word(frame + u64::from(layout.cframe_frame));
        }
        let mut frames = Vec::new();
        while frame != 0 {
            let owner = self.bytes(frame + u64::from(layout.frame_owner), 1)[0];
            let trampoline =
                layout.flags & flags::FRAME_HAS_OWNER != 0 && owner == layout.owner_trampoline;
            if !trampoline {
                frames.push(self.frame(layout, placed, frame));
            }
            frame = self.word(frame + u64::from(layout.frame_previous));
        }
        frames
    }

    fn frame(&self, layout: &PythonLayout, placed: &Placed, frame: u64) -> (String, u32) {
        let code = self.word(frame + u64::from(layout.frame_code));
        assert_eq!(
            self.word(code + u64::from(layout.object_type)),
            placed.code_type
        );
        let file = self.string(layout, self.word(code + u64::from(layout.code_file)));
        assert!(file.starts_with('/'), "{file}");
        let table = self.word(code + u64::from(layout.code_line_table));
        let size = self.word(table + u64::from(layout.bytes_size));
        assert!((1..1000).contains(&size), "{size}");
        let at = frame + u64::from(layout.frame_instruction);
        if layout.flags & flags::INSTRUCTION_IS_INDEX == 0 {
            let offset = self.word(at) - (code + u64::from(layout.code_instructions));
            assert!(offset < 1000, "{offset}");
        } else {
            assert!(self.half(at) < 500);
        }
        let name = self.string(layout, self.word(code + u64::from(layout.code_name)));
        (name, self.half(code + u64::from(layout.code_first_line)))
    }
}

/// Every interpreter at hand is found, placed, and its stack read with its layout is the script's.
#[test]
fn layouts_fit_running_interpreters() {
    for python in interpreters() {
        let running = Running::start(&python);
        let (facts, placed) = found(Pid(running.child.id()));
        let (_, minor, micro) = facts.version;
        println!(
            "{}: 3.{minor}.{micro} by {}, stripped {}, relocatable {}",
            python.display(),
            facts.version_source.name(),
            facts.stripped,
            facts.relocatable
        );
        assert!(placed.evaluation_loop.end - placed.evaluation_loop.start > 1000);
        let method = if minor <= 10 {
            "method"
        } else {
            "Outer.method"
        };
        let expected = [("fr\u{e8}re", 2), (method, 7), ("<module>", 1)];
        let expected: Vec<_> = expected.map(|(name, line)| (name.to_owned(), line)).into();
        let stack = running.stack(&facts.layout, &placed);
        // 3.11.0 and later start a module at line 0 or 1.
        assert_eq!(stack[..2], expected[..2], "{}", python.display());
        assert_eq!(stack[2].0, "<module>");
        assert_eq!(stack.len(), 3);
    }
}

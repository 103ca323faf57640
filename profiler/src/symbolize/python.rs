//! Code objects → Python frames. Names come from `code` records only, never from the process.

use std::{num::NonZeroUsize, sync::Arc};

use lru::LruCache;

use super::{
    Frame, FrameKind, MappedFile,
    line_table::{self, LineError, LineTable},
    long_tables::LongTables,
};
use crate::{
    by_process::ByProcess,
    events::{Code, CodeId, LineTablePart, PythonFrame},
    health::{Health, Loss},
    id::{Pid, ProcessKey},
    targets::FileId,
};

/// Frames kept ready, over all processes.
const MAX_FRAMES: usize = 65_536;

impl Function {
    /// Whether it is the interpreter's own frame between a class's `__init__` and the call of the class
    /// (`_Py_InitCleanup`, `Python/specialize.c`, 3.12 and later): its file is `__init__`, too.
    fn is_shim(&self) -> bool {
        &*self.file == "__init__" && &*self.name == "__init__"
    }
}

/// The name of a code object, and its lines. Prefork workers share theirs.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    name: Arc<str>,
    file: Arc<str>,
    first_line: i32,
    line_table: Option<LineTable>,
}

/// The entry for the address of a code object.
#[derive(Debug)]
struct Known {
    checksum: u32,
    /// Number of the function: equal functions have equal numbers.
    number: u64,
    function: Arc<Function>,
}

/// Start time of the process, and address of the code object.
type CodePlace = (u64, u64);

/// A frame's place: function, offset of the instruction, and the interpreter's file.
type FrameKey = (u64, i32, FileId);

/// Code objects by process and address, and the frames made of them.
#[derive(Debug)]
pub(super) struct PythonFrames {
    codes: ByProcess<CodePlace, Known>,
    functions: LruCache<Arc<Function>, u64>,
    frames: LruCache<FrameKey, Arc<Frame>>,
    next_number: u64,
    long_tables: LongTables<Function>,
    health: Health,
}

impl PythonFrames {
    pub(super) fn new(max_codes: NonZeroUsize, health: Health) -> Self {
        Self {
            codes: ByProcess::new(max_codes),
            functions: LruCache::new(max_codes),
            frames: LruCache::new(NonZeroUsize::new(MAX_FRAMES).unwrap_or(NonZeroUsize::MIN)),
            next_number: 0,
            long_tables: LongTables::default(),
            health,
        }
    }

    /// Remembers a code object; one that was known at its address is dropped.
    pub(super) fn learn(&mut self, code: Code) {
        if code.name.cut || code.file.cut {
            self.health.count(Loss::CodeNameCut);
        }
        let unreadable = || Arc::from("[unreadable name]");
        let function = Arc::new(Function {
            name: code.name.to_text().map_or_else(unreadable, Arc::from),
            file: code.file.to_text().map_or_else(|| Arc::from(""), Arc::from),
            first_line: code.first_line,
            line_table: code.line_table.map(|bytes| LineTable {
                format: code.line_table_format,
                bytes: bytes.into_boxed_slice(),
                is_whole: !code.line_table_cut,
            }),
        });
        let (function, number) = self.shared(function);
        let ProcessKey { pid, start_time } = code.process;
        let known = Known {
            checksum: code.id.checksum,
            number,
            function,
        };
        let place = (start_time, code.id.address);
        if self.codes.put(pid, place, known).is_some() {
            self.health.count(Loss::CodeCacheFull);
        }
    }

    /// Takes a further part of a line table; whether the table is whole now.
    pub(super) fn learn_lines(&mut self, part: &LineTablePart) -> bool {
        let ProcessKey { pid, start_time } = part.process;
        let place = (start_time, part.code.address);
        let Some(known) = self.codes.get(pid, place) else {
            return false;
        };
        let checksum = part.code.checksum;
        let Some(first) = known
            .function
            .line_table
            .as_ref()
            .filter(|it| known.checksum == checksum && !it.is_whole)
        else {
            return false;
        };
        let Some(rest) = self.long_tables.add(part, first.bytes.len()) else {
            return false;
        };
        let bytes = [&*first.bytes, &rest].concat().into_boxed_slice();
        let size = bytes.len();
        if !self.long_tables.has_room(size) {
            return false;
        }
        let table = LineTable {
            bytes,
            is_whole: !part.is_cut,
            ..*first
        };
        let function = Function {
            name: Arc::clone(&known.function.name),
            file: Arc::clone(&known.function.file),
            first_line: known.function.first_line,
            line_table: Some(table),
        };
        let (function, number) = self.shared(Arc::new(function));
        self.long_tables.keep(&function, size);
        let known = Known {
            checksum,
            number,
            function,
        };
        self.codes.put(pid, place, known);
        true
    }

    /// The one copy of equal functions, and its number.
    fn shared(&mut self, function: Arc<Function>) -> (Arc<Function>, u64) {
        if let Some(&number) = self.functions.get(&function)
            && let Some((known, _)) = self.functions.get_key_value(&function)
        {
            return (Arc::clone(known), number);
        }
        self.next_number += 1;
        self.functions.put(Arc::clone(&function), self.next_number);
        (function, self.next_number)
    }

    /// Forgets a process.
    pub(super) fn forget(&mut self, pid: Pid) {
        self.codes.forget(pid);
    }

    /// Names a frame; `None` for a frame that Python hides from its users, too. What the frame lacks goes to `flaws`.
    pub(super) fn frame(
        &mut self,
        process: ProcessKey,
        frame: PythonFrame,
        interpreter: (FileId, &Arc<MappedFile>),
        flaws: &mut Vec<Loss>,
    ) -> Option<Arc<Frame>> {
        let CodeId { address, checksum } = frame.code;
        let (file, mapping) = interpreter;
        let place = (process.start_time, address);
        let Some(known) = self.codes.get(process.pid, place) else {
            flaws.push(Loss::CodeUnknown);
            return Some(marker("[unknown code]", mapping));
        };
        if known.checksum != checksum {
            flaws.push(Loss::CodeStale);
            return Some(marker("[stale code]", mapping));
        }
        if known.function.is_shim() {
            return None;
        }
        let key = (known.number, frame.instruction, file);
        if let Some(ready) = self.frames.get(&key) {
            if ready.line == 0 {
                flaws.extend(line(&known.function, frame.instruction).err().flatten());
            }
            return Some(Arc::clone(ready));
        }
        let line = line(&known.function, frame.instruction);
        let named = Arc::new(name(&known.function, line.unwrap_or(0), mapping));
        flaws.extend(line.err().flatten());
        self.frames.put(key, Arc::clone(&named));
        Some(named)
    }
}

/// The line of an instruction. If it has none, what was lost: nothing, if the compiler has made the instruction itself.
fn line(function: &Function, instruction: i32) -> Result<u32, Option<Loss>> {
    let table = function.line_table.as_ref();
    let table = table.ok_or(Some(Loss::LineUnreadable))?;
    line_table::line(table, function.first_line, instruction).map_err(|error| match error {
        LineError::NoLine => None,
        // An entry may be cut in its middle.
        _ if !table.is_whole => Some(Loss::LineCut),
        LineError::PastEnd | LineError::Malformed | LineError::UnknownFormat(_) => {
            Some(Loss::LineMalformed)
        }
    })
}

/// A frame of a function; `line`: 0 if it is in none, or that is not known.
fn name(function: &Function, line: u32, mapping: &Arc<MappedFile>) -> Frame {
    Frame {
        kind: FrameKind::Python,
        name: Arc::clone(&function.name),
        is_named: true,
        file: Arc::clone(&function.file),
        line,
        start_line: u32::try_from(function.first_line).unwrap_or(0),
        mapping: Arc::clone(mapping),
    }
}

/// A frame that says what is missing.
pub(super) fn marker(text: &str, mapping: &Arc<MappedFile>) -> Arc<Frame> {
    Arc::new(Frame {
        kind: FrameKind::Marker,
        name: text.into(),
        is_named: true,
        file: "".into(),
        line: 0,
        start_line: 0,
        mapping: Arc::clone(mapping),
    })
}

#[cfg(test)]
mod tests {
    use std::{num::NonZeroUsize, sync::Arc};

    use profiler_common::python::line_table;

    use super::{MappedFile, PythonFrames};
    use crate::{
        events::{Code, CodeId, PythonFrame, PythonString},
        health::{Health, Loss},
        id::{Pid, ProcessKey},
        targets::FileId,
    };

    const PROCESS: ProcessKey = ProcessKey {
        pid: Pid(1),
        start_time: 1,
    };
    const CODE: CodeId = CodeId {
        address: 0x1000,
        checksum: 1,
    };

    /// The line of an instruction of a function with this table, and what is counted, at first and when it is known.
    fn line(table: Option<&[u8]>, is_cut: bool, instruction: i32) -> (u32, Vec<Loss>) {
        let mut frames = PythonFrames::new(NonZeroUsize::MIN, Health::default());
        let string = || PythonString {
            kind: 1,
            bytes: b"work".to_vec(),
            cut: false,
        };
        frames.learn(Code {
            process: PROCESS,
            id: CODE,
            first_line: 10,
            name: string(),
            file: string(),
            line_table_format: line_table::PEP626,
            line_table: table.map(<[u8]>::to_vec),
            line_table_cut: is_cut,
        });
        let file = FileId {
            device: 1,
            inode: 1,
        };
        let mapping = Arc::new(MappedFile {
            path: String::new(),
            build_id: String::new(),
        });
        let frame = PythonFrame {
            code: CODE,
            instruction,
        };
        let [first, again] = [(); 2].map(|()| {
            let mut flaws = Vec::new();
            let frame = frames.frame(PROCESS, frame, (file, &mapping), &mut flaws);
            (frame.unwrap().line, flaws)
        });
        assert_eq!(first, again);
        first
    }

    /// What a frame without a line lacks has a name for each cause; an instruction that the compiler has made itself
    /// lacks nothing.
    #[test]
    fn why_there_is_no_line() {
        // Four bytes of code one line further on, and four without a line.
        let table = Some([4, 1, 4, 0x80].as_slice());
        assert_eq!(line(table, false, 0), (11, vec![]));
        assert_eq!(line(table, false, 4), (0, vec![]));
        assert_eq!(line(table, false, 8), (0, vec![Loss::LineMalformed]));
        assert_eq!(line(table, true, 8), (0, vec![Loss::LineCut]));
        assert_eq!(line(None, false, 0), (0, vec![Loss::LineUnreadable]));
    }
}

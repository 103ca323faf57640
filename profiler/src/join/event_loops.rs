//! Which code objects are an event loop's turn.
//!
//! In a thread that runs an event loop the span stack says which spans are open, not which task is
//! running: a sample under the loop's turn is never attributed by it.

use std::collections::{HashMap, HashSet};

use crate::{
    events::{Code, CodeId, PythonFrame, PythonString},
    id::ProcessKey,
};

/// Turns kept for one process: a process has one or two.
const MAX_TURNS: usize = 64;

/// Code objects that are an event loop's turn, by process.
#[derive(Debug, Default)]
pub(super) struct EventLoops {
    turns: HashMap<ProcessKey, HashSet<CodeId>>,
}

impl EventLoops {
    /// Looks whether a code object is `asyncio.base_events.BaseEventLoop._run_once`.
    pub(super) fn learn(&mut self, code: &Code) {
        let name = latin1(&code.name);
        if name != "_run_once" && name != "BaseEventLoop._run_once" {
            return;
        }
        if latin1(&code.file).ends_with("asyncio/base_events.py") {
            let turns = self.turns.entry(code.process).or_default();
            if turns.len() < MAX_TURNS {
                turns.insert(code.id);
            }
        }
    }

    /// Whether a stack is under an event loop's turn.
    pub(super) fn are_on(&self, process: ProcessKey, stack: &[PythonFrame]) -> bool {
        self.turns
            .get(&process)
            .is_some_and(|turns| stack.iter().any(|frame| turns.contains(&frame.code)))
    }

    /// Forgets a process.
    pub(super) fn forget(&mut self, pid: crate::id::Pid) {
        self.turns.retain(|process, _| process.pid != pid);
    }
}

/// The string if its characters are Latin-1, which covers the names looked for; empty elsewhere.
fn latin1(string: &PythonString) -> String {
    if string.kind != 1 {
        return String::new();
    }
    string.bytes.iter().map(|&byte| char::from(byte)).collect()
}
